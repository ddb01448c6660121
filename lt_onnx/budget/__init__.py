"""What a promise allows: from decibels and agreement to the error that each output may have.

Comes in: a Target, inputs and Options. Goes out: a `Promise`, from which the construction gives
every layer its share (`construct.noise_budget`).

- `disturbance`  a layer of the target of subset sums, as wrong as it is asked to be
- `sensitivity`  what an error in each layer does to the outputs, measured on the target alone
- `deviation`    how far the copies of a channel deviate on their way, and what that costs
- `uncertainty`  how well so few inputs tell the error of an output
- `promise`      the error that is allowed, from decibels and from agreement
"""
