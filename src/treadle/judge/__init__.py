"""Judges: how far a model's verdicts can be trusted, and what they may be used for.

Asking: `rubric` the words · `fence` what keeps rows from talking · `shells`, `rulings` what needs no judge ·
`asking`, `reading` a prompt and its verdict · `pairwise`, `scoring`, `tagging` judges behind endpoints ·
`canaries` known answers in every batch · `panel`, `best_of` several judges, several answers · `reward`
classifiers on this machine · `scripted_judge` a server for tests whose faults are known.

Trusting: `pairs` what a judge is shown and who it is · `verdicts` what a judge said about labelled pairs, in both orders · `proportions` intervals ·
`agreement` kappas, alpha, correlations · `reliability` the figures of the reliability benchmark ·
`powers` which of them a judge must reach to filter, to gate, or only to break ties · `ppi` few labels
of people and many verdicts as one estimate.
"""
