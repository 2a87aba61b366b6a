"""What the system says of memory, one probe per truth. A probe that cannot read says `None`, never a wrong zero."""
