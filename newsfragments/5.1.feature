Two more policies: `consistent` sends the same content to the same node, which then has it in its cache, with
`balance-factor` as a bound on what one node gets; `least-loaded` takes the emptier of two. Nodes have a `weight`, which
all policies keep to, and a rule may name its own `policy`.
