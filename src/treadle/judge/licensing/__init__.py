"""The licence: `examination` asks a benchmark, `licence` states what came out, `checking` computes it again."""
