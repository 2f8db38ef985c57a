"""The tests, as a package: a peer, flow_matching, installs one of this name that would hide a plain folder."""
