"""From two networks to how near they are.

Comes in: target, ticket, samples. Goes out: figures and checks. In order: `fidelity` holds the
figures per output, `limits` what they must hold, `outputs` runs and compares; `per_layer` finds
where error enters; `bound` certifies an error that no input exceeds.
"""
