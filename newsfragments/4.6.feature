`btcp doctor` looks at a host (kernel, capabilities, sysctls, device, MTU, clock, ports, certificates, peers, what a
crash left) and says of each: fine, or what to type.
