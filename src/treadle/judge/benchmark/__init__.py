"""What a judge is examined on: pairs made on the spot whose right answer is computed, never remembered.

`task` a request, its right answer and wrong ones · `numbers`, `texts` the families of tasks · `fresh` pairs of
right and wrong answers · `changes` the same pairs, changed so that the label stays · `shells` answers
that are none · `whole` the benchmark that a licence rests on, as data.
"""
