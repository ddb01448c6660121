"""Fill a Blueprint with masks: Algorithms 1 and 2.

Comes in: a Blueprint and calibration inputs. Goes out, layer by layer: `MaskedRows`, then the
layer's `BuiltLayer`. `construction` is the sequence; nothing is written to disk here.
"""
