"""The tests, as a package: a peer, flow_matching, installs a package of this name that hid a plain folder."""
