"""The sequence of the proof, and what it proves.

Shared with the construction are the manifest's schema and the written specification of the
generator (see `source`): the package has its own Philox, in plain NumPy, and its own reading of
tensors and graph.

A seeded ticket is turned back into a sparse one first, by `seeded`, which proves that its graph
makes the weights that the seed gives at the positions that its codes name.

Proved, whoever made the file:

- every stored weight is +0 or, bit for bit, what the seed gives at its position, σ included;
  biases likewise, and only where the manifest says that a layer has them (`masked_weights`);
- a univariate layer's mask, biases, scales and order follow from the seed and a few numbers that
  the manifest says of its block (`univariate`);
- each random layer is read once, by its linear operator, in the manifest's order, and scaled by one
  factor per channel; every other linear operator is declared dense (`structure`);
- every other float is a parameter that the manifest names and counts, larger ones only in places
  declared dense; integers are shapes and indices and reach no data; nothing is computed from
  constants alone, and no attribute, function or subgraph holds numbers (`constant_flow`,
  `allowed_fields`);
- the seal holds: the file is byte for byte what was sealed. A seal is no secret; whoever changes
  a file can seal it again, so nothing above relies on it.

With the target (`against_target`): the graph, its attributes, indices and parameters are what the
manifest's options make of that target.

Not proved: which weights the masks of constructed layers keep and what the scales of their channels
are, which the construction chooses freely, and options that decide nothing else. Without the
target, that the operators between the layers, their attributes, indices and named scalars are the
target's: a graph has room for numbers there, which `account` counts; whoever distrusts a ticket's
maker gives the target. That the ticket computes nearly what its target does is for `validate` to
say, that the generator is random for `statistics`. Of a collapsed ticket, that the layers before a
block hand on the constants that its record names, and that its range keeps neurons below the bend
of ReLU6: both are the record's to choose, and counted.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeAlias

import onnx
from msgspec import Meta

from lt_onnx.errors import InputError
from lt_onnx.manifest import DensePlace, parse_deployed
from lt_onnx.reading.protobuf import metadata_of
from lt_onnx.units import MAX_NAME, html_table, shown
from lt_onnx.verification.account import Account, account_of
from lt_onnx.verification.allowed_fields import check_fields, is_readable
from lt_onnx.verification.graph_index import index_graph
from lt_onnx.verification.masked_weights import check_masked_weights, stored_tensors
from lt_onnx.verification.seeded import Restored, plain_ticket
from lt_onnx.verification.structure import check_structure
from lt_onnx.verification.tensors import Tensor, data_bytes, locate_tensors
from lt_onnx.verification.ticket_file import OTHER_TARGET, check_seal, manifest_of, read_model

MAX_FAILURES = 100  # that are told

Count: TypeAlias = Annotated[int, Meta(ge=0)]


@dataclass(frozen=True, repr=False)
class Proof:
    """Outcome: `failures` is empty when all is well; counts are of what was checked."""

    layers: Count
    kept: Count
    source: Count
    draws: Count  # of them that are independent: mirror images share their numbers
    scales: Count  # that are not zero
    parameters: Count  # of the target, in dense places
    scalars: Count  # of the target, single or read elsewhere: slopes, limits, sizes
    dense: Count
    dense_places: tuple[DensePlace, ...]
    seed: Count
    account: Account | None  # bits that the seed does not fix; of a genuine ticket
    planned: bool  # the graph was compared with what its target is planned to
    failures: list[str]  # of the proof, and of a limit that was asked for
    genuine: bool  # everything was proved

    @property
    def of_other_target(self) -> bool:
        """Whether nothing is wrong but that it is a ticket of another network."""
        return bool(self.failures) and all(f.startswith(OTHER_TARGET) for f in self.failures)

    def about(self) -> dict[str, str]:
        """Verdict and counts in words, by what they are of."""
        texts = {"verdict": "; ".join(self.failures) or "genuine"}
        texts["weights"] = f"{self.kept:,} of {self.source:,} random ones kept, seed {self.seed}"
        texts["graph"] = "as its target is planned to" if self.planned else "its author's word"
        if self.dense:
            texts["dense"] = f"{self.parameters:,} parameters of the target in {self.dense} places"
        return texts

    def __repr__(self) -> str:
        verdict, weights, *_ = self.about().values()
        return f"<Proof {shown(verdict, MAX_NAME)}: {weights}>"

    def _repr_html_(self) -> str:
        return html_table(self.about())


def prove(
    path: Path,
    *,
    target: Path | None = None,
    target_sha256: str | None = None,
    max_outside_masks: float | None = None,
) -> Proof:
    """Check the ticket at `path`; arguments and errors as of `lt_onnx.verify`."""
    if max_outside_masks is not None and not 0 < max_outside_masks <= 1:
        raise InputError(
            f"`max_outside_masks` is {max_outside_masks}; give a share, above 0 up to 1"
        )
    if max_outside_masks is not None and target is None:
        raise InputError(
            "`max_outside_masks` needs `target`: a graph that is its author's word may have masks "
            "that do nothing"
        )
    model, canonical = read_model(path)
    if not is_readable(model):
        raise InputError(f"{path}: a name in it is not UTF-8, or it has more parts than any ticket")
    manifest, deployed = manifest_of(path, model), parse_deployed(path, metadata_of(model))
    restored = plain_ticket(model, manifest, deployed)
    ticket, manifest, failures = restored.ticket, restored.manifest, [*restored.failures]
    if target_sha256 is not None and manifest.target_sha256 != target_sha256:
        failures.append(f"{OTHER_TARGET} (SHA-256 differs)")
    malformed = check_fields(ticket) if ticket is not None else []
    if restored.collapsed:  # the file has nodes that the ticket has not
        malformed = [*dict.fromkeys([*malformed, *check_fields(restored.graph)])]
    if not canonical:
        malformed.append("the file says things twice or out of order, as no ticket does")
    failures += malformed
    counts = dict.fromkeys("layers kept source draws scales parameters scalars".split(), 0)
    account = None
    if ticket is not None and not malformed:
        # else a name may stand for two things, and a tensor for two arrays
        counts, account, wrong = _proved(path, ticket, restored, target)
        failures += wrong
    failures[:0] = check_seal(path, model)  # of a file that was changed, the first thing to know
    genuine = not failures
    share = account.outside_masks if account is not None else 0.0
    if max_outside_masks is not None and share > max_outside_masks:
        failures.append(
            f"{100 * share:.1f} % of its account is outside the masks; at most "
            f"{100 * max_outside_masks:g} % may be"
        )
    if len(failures) > MAX_FAILURES:
        failures[MAX_FAILURES:] = [f"and {len(failures) - MAX_FAILURES} more"]
    return Proof(
        dense=len(manifest.dense),
        dense_places=manifest.dense,
        seed=manifest.seed,
        account=account if genuine else None,
        planned=target is not None,
        failures=[shown(failure) for failure in failures],
        genuine=genuine,
        **counts,
    )


def _proved(
    path: Path, ticket: onnx.ModelProto, restored: Restored, target: Path | None
) -> tuple[dict[str, int], Account | None, list[str]]:
    """What was counted, the account where nothing is wrong, and what is wrong."""
    manifest = restored.manifest
    tensors = locate_tensors(path, ticket)
    outside = [name for name, t in tensors.items() if isinstance(t, Tensor) and t.file is not None]
    outside = sorted({*outside}.difference(*(stored_tensors(layer) for layer in manifest.layers)))
    if outside:  # it may be of any size: nothing of it is read
        raise InputError(f"{path}: tensor '{outside[0]}' is no layer's and lies in external data")
    size = ticket.ByteSize() + data_bytes(tensors)
    counts, failures = check_masked_weights(manifest, tensors, size=size)
    index, misplaced = index_graph(ticket, manifest)
    others, unaccounted = check_structure(ticket, manifest, tensors, index)
    failures += [*misplaced, *unaccounted]
    if target is not None:
        from lt_onnx.verification.against_target import check_against_target

        failures += check_against_target(restored, tensors, target)
    account = None
    if not failures:
        account = account_of(restored, index=index, tensors=tensors, path=path, target=target)
    return {**counts, **others}, account, failures
