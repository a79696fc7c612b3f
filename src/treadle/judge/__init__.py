"""Judges: models that say which answer is better, how good one is, or what a request asks for.

`pairs` what a judge is shown and who it is · `rubric` what it goes by · `fence`, `shells`, `asking`,
`reading`, `rulings` how it is asked and what counts as a verdict · `pairwise`, `scoring`, `tagging`,
`panel`, `best_of`, `reward` kinds of judges · `canaries` known answers in every batch · `rows`, `model` the
judge of a run · `scripted_judge` a server for tests.

`figures` what verdicts are worth · `benchmark` what a judge is examined on · `labels` those of people ·
`licensing` the licence that a judge must earn before its verdicts may filter or gate.
"""
