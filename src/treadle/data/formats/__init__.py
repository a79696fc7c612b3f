"""Reading and writing rows: files, layouts, quarantine, exports for trainers."""
