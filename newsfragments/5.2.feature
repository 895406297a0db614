`make fleet` computes what no lab can show: how the policies spread 10^8 requests over 1,000 nodes, what an all-to-all
control channel costs, how long a death is felt. docs/scale.md says what a fleet of a given size needs.
