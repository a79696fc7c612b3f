"""What verdicts are worth, in figures with intervals.

`verdicts` what a judge said about labelled pairs, in both orders · `proportions` intervals · `agreement`
kappas, alpha, correlations · `reliability`, `calibration`, `groups` the figures of the reliability benchmark ·
`powers` which of them a judge must reach to filter, to gate, or only to break ties · `ppi` few labels of
people and many verdicts as one estimate · `win_rate` how often a system wins, at equal length.
"""
