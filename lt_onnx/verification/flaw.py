"""What is wrong with a layer, raised where it is found."""


class Flaw(Exception):  # noqa: N818  (a finding, for the list of them)
    """Why a layer is not what its source and its record say."""
