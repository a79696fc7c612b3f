"""Labels of people: `people` what they said and how far they agree, `files` reads them, `book` keeps them."""
