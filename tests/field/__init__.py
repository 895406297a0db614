# SPDX-License-Identifier: MIT
"""
Symptoms that operators of load balancers report from the field, reproduced on lab clusters.

Each module is named after what the operator or the client sees, and each case runs in every
mode in which the datapath decides the result; see L{tests.modes}.  Modules that need a healthy
cluster share the labs of L{tests.integration.standing}; a module that damages a host or the
clock brings up a lab of its own.
"""
