"""Files of samples made to do harm: bombs, pickles, claims, other shapes and types."""

import io
import struct
import zipfile

import numpy as np
from mutants.archives import zipped
from mutants.values import Files

from refused.case import Refused

X = np.random.default_rng(0).normal(size=(4, 2, 6, 6)).astype(np.float32)


def npz(**arrays: np.ndarray) -> Files:
    stream = io.BytesIO()
    np.savez(stream, **arrays)  # type: ignore[arg-type]
    return {"s.npz": stream.getvalue()}


def header(described: str, data: bytes = b"") -> bytes:
    line = (described.ljust(117) + "\n").encode("latin1")
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(line)) + line + data


def claimed(described: str) -> Files:
    return {"s.npz": zipped([("x.npy", header(described, X.tobytes()))])}


def zip_bomb() -> Files:
    stream = io.BytesIO()
    with (
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("x.npy", "w", force_zip64=True) as member,
    ):
        shape = "{'descr': '<f4', 'fortran_order': False, 'shape': (2000000, 2, 6, 6), }"
        member.write(header(shape))
        for _ in range(36):
            member.write(bytes(16_000_000))
    return {"s.npz": stream.getvalue()}


INPUTS: dict[str, Refused] = {
    "pickled": Refused(lambda: npz(x=np.array([{"a": 1}], object)), "plain arrays"),
    "a zip bomb": Refused(zip_bomb, "unpacks to"),
    "a shape past all memory": Refused(
        lambda: claimed(
            "{'descr': '<f4', 'fortran_order': False, 'shape': (4000000000, 2, 6, 6), }"
        ),
        "arrays",
    ),
    "a negative shape": Refused(
        lambda: claimed("{'descr': '<f4', 'fortran_order': False, 'shape': (-4, 2, 6, 6), }"),
        "arrays",
    ),
    "a header of parentheses": Refused(lambda: claimed("(" * 110), "arrays"),
    "no header": Refused(lambda: {"s.npz": zipped([("x.npy", b"")])}, "arrays"),
    "no array": Refused(lambda: {"s.npz": zipped([("x", X.tobytes())])}, "'x'"),
    "another name": Refused(lambda: npz(z=X), "'x'; it holds z"),
    "strings": Refused(lambda: npz(x=X.astype("U3")), "'x' is"),
    "complex": Refused(lambda: npz(x=X.astype(np.complex64)), "'x' is complex64"),
    "dates": Refused(lambda: npz(x=X.astype("M8[s]")), "'x' is"),
    "another rank": Refused(lambda: npz(x=X[0]), "shape"),
    "another size": Refused(lambda: npz(x=X[:, :, :5]), "shape"),
    "no samples": Refused(lambda: npz(x=X[:0]), "samples"),
    "NaN": Refused(lambda: npz(x=X * np.float32(np.nan)), "NaN"),
    "past float32": Refused(lambda: npz(x=X.astype(np.float64) * 1e200), "infinity"),
    "labels of strings": Refused(lambda: npz(x=X, labels=np.array(list("abcd"))), "labels"),
    "labels of another count": Refused(lambda: npz(x=X, labels=np.arange(3)), "labels"),
    "an empty file": Refused(lambda: {"s.npz": b""}, "arrays"),
    "no zip file": Refused(lambda: {"s.npz": b"PK\x03\x04" + bytes(100)}, "arrays"),
    "a pickle": Refused(lambda: {"s.npy": b"\x80\x04\x95" + bytes(40)}, "arrays"),
}
