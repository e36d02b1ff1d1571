"""Speed of roadstead beside that of other registries, measured in one run on one machine.

What is promised: every figure is taken by the same load generator, alternating between the peers (A B A B …), and is
printed beside the figure of Debian's docker-registry, so that the ratio holds even where the machine differs. A peer
that can't be had is listed with the reason. Nothing outside this machine is ever contacted by a load.

What is refused: a figure from a run in which any response had another status than the expected one, or in which the
bytes that came back had another digest than those that were sent.
"""
