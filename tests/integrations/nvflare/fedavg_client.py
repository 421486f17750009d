"""A site of an ordinary NVFlare job: it knows nothing of securefed. Copied to a folder and run there."""

import numpy as np
import nvflare.client as flare

from tests.integrations.nvflare.calls import examples, moved

flare.init()
site = flare.get_site_name()
while flare.is_running():
    model = flare.receive()
    meta = {"NUM_STEPS_CURRENT_ROUND": examples(site)}
    metrics = {"loss": 0.5, "accuracy": 0.25}
    nothing = {name: np.zeros_like(array) for name, array in model.params.items()}
    update = moved(nothing, site, model.current_round + 1)
    if model.current_round:
        flare.send(flare.FLModel("DIFF", update, metrics=metrics, meta=meta))
    else:
        for name, array in model.params.items():
            array += update[name]  # trained in place: the filter must have kept what it began with
        flare.send(flare.FLModel("FULL", model.params, metrics=metrics, meta=meta))
