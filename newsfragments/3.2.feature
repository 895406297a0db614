With the eBPF datapath, connections outlive the daemon: killed, or told to leave by SIGUSR2 for an upgrade, it is
followed by one that goes on with them. `btcp unload` takes from a host what a dead daemon left.
