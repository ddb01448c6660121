"""Prove from a ticket file alone that it is a masked copy of its random source.

Shares with the construction the manifest's schema and the written specification of the generator
(see `source`), and nothing else: the package has its own Philox, in plain NumPy, and its own
reading of the file.

Proved, whoever made the file:

- every stored weight is +0 or, bit for bit, what the seed gives at its position, σ included;
  biases likewise, and only where the manifest says that a layer has them (`layers`);
- each random layer is read once, by its linear operator, in the manifest's order, and scaled by one
  factor per channel; every other linear operator is declared dense (`structure`);
- every other float is a parameter that the manifest names and counts, larger ones only in places
  declared dense; integers are shapes and indices and reach no data; nothing is computed from
  constants alone, and no attribute, function or subgraph holds numbers (`flow`, `form`);
- the seal holds: the file is byte for byte what was sealed. A seal is no secret; whoever changes
  a file can seal it again, so nothing above relies on it.

With the target (`planned`): the graph, its attributes, indices and parameters are what the
manifest's options make of that target.

Not proved: which weights the mask keeps, which neurons a block reads and what the scales are;
these are what the construction chooses freely, and options that decide nothing else are believed.
Without the target, that the operators between the layers, their attributes, indices and named
scalars are the target's: a graph has room for numbers there, so whoever distrusts a ticket's maker
gives the target. That the ticket computes nearly what its target does is for `validate` to say,
that the generator is random for `statistics`.
"""

from dataclasses import dataclass, field
from pathlib import Path

from lt_onnx.errors import InputError
from lt_onnx.manifest import METADATA_KEY, parse_manifest
from lt_onnx.reading.model_file import metadata_of
from lt_onnx.verification.allowed_fields import check_form, is_readable
from lt_onnx.verification.masked_weights import check_layers
from lt_onnx.verification.structure import check_structure
from lt_onnx.verification.tensors import broken_seal, open_tensors, read_model

__all__ = ["Proof", "verify"]

MOST = 100  # failures that are told


@dataclass
class Proof:
    """Outcome: `failures` is empty when the ticket is genuine; counts are of what was checked."""

    layers: int = 0
    kept: int = 0
    source: int = 0
    scales: int = 0
    parameters: int = 0
    dense: int = 0
    seed: int = 0
    failures: list[str] = field(default_factory=list)

    @property
    def genuine(self) -> bool:
        """Whether everything was proved."""
        return not self.failures


def verify(path: Path, target_sha256: str | None = None, *, target: Path | None = None) -> Proof:
    """Check the ticket at `path`.

    With `target_sha256` also that it says to be made from that file; with `target`, the file, that
    its graph is what the target is planned to.

    Raises InputError for a file that is no ticket at all; everything else is in `Proof.failures`.
    """
    path = Path(path)
    model, plainly = read_model(path)
    if not is_readable(model):
        raise InputError(f"{path}: a name in it is not UTF-8, or it has more parts than any ticket")
    manifest = parse_manifest(path, metadata_of(model))
    if manifest is None:
        raise InputError(
            f"{path}: not a ticket: it has no '{METADATA_KEY}' metadata; was it made by convert?"
        )
    proof = Proof(seed=manifest.seed, dense=len(manifest.dense))
    if target_sha256 is not None and manifest.target_sha256 != target_sha256:
        proof.failures.append("the ticket was made from another target (SHA-256 differs)")
    formal = check_form(model)
    if not plainly:
        formal.append("the file says things twice or out of order; a ticket is written plainly")
    proof.failures += formal
    if not formal:  # else a name may stand for two things, and a tensor for two arrays
        tensors = open_tensors(path, model)
        counts, failures = check_layers(manifest, tensors)
        proof.layers, proof.kept, proof.source = counts.layers, counts.kept, counts.source
        proof.failures += failures
        found = check_structure(model, manifest, tensors)
        proof.scales, proof.parameters = found.scales, found.parameters
        proof.failures += found.failures
        if target is not None:
            from lt_onnx.verification.against_target import check_planned

            proof.failures += check_planned(model, manifest, tensors, target)
    broken = broken_seal(path, model)
    if broken is not None:
        proof.failures.append(broken)
    if len(proof.failures) > MOST:
        proof.failures[MOST:] = [f"and {len(proof.failures) - MOST} more"]
    return proof
