"""A mutant of whatever a seed is."""

from mutants.archives import of_arrays, of_pack
from mutants.models import of_model, seal
from mutants.values import Files, Random, of_bytes


def mutate(rng: Random, seeds: list[Files], resealed: bool = False) -> Files:
    """A mutant of one of the seeds; of a ticket with its seal renewed, where that can be."""
    files = dict(rng.choice(seeds))
    kinds = {".onnx": of_model, ".ltz": of_pack, ".npz": of_arrays, ".npy": of_bytes}
    name = next(iter(files)) if len(files) == 1 or rng.random() < 0.8 else rng.choice([*files])
    change = kinds.get(name[name.rfind(".") :], of_bytes)
    if change is of_model and not resealed and rng.random() < 0.15:
        change = of_bytes
    files[name] = change(rng, files[name], [seed.get(name, b"") for seed in seeds])
    if resealed:
        first = next(iter(files))
        files[first] = seal(files[first], [files[name] for name in [*files][1:]])
    return files
