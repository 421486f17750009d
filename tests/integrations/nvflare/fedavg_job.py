"""NVFlare's own FedAvg with an exact sum in it, on the simulator; copied to a folder and run there.

Argument: the folder for the simulation.
"""

import sys

from nvflare.app_common.np.recipes.fedavg import NumpyFedAvgRecipe
from nvflare.recipe import SimEnv

from securefed.integrations.nvflare import OfferRound, QuantizeUpdate
from tests.integrations.nvflare.calls import BITS, CLIP, GREATEST, SITES
from tests.integrations.nvflare.noting_sum import NotingSum

if __name__ == "__main__":
    recipe = NumpyFedAvgRecipe(
        name="sums", model=[[0.0] * 3] * 4, min_clients=len(SITES), num_rounds=2, train_script="client.py",
        aggregator=NotingSum(CLIP, BITS, GREATEST, metrics=["loss"]),
    )  # fmt: skip
    recipe.add_server_output_filter(OfferRound(), tasks=["train"])
    recipe.add_client_input_filter(QuantizeUpdate(), tasks=["train"])
    recipe.add_client_output_filter(QuantizeUpdate(), tasks=["train"])
    recipe.execute(SimEnv(clients=list(SITES), workspace_root=sys.argv[1]))
