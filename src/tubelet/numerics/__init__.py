"""What the processor does natively, which precision is the fastest that is right, and the probe of
a model's layers. Nothing else in the package asks about processors."""
