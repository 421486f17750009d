"""Language models: data and partitions, tokenizers, models, what is trained of them, evaluation.

The only room that imports torch, transformers and peft (the `llm` extra). One file a subject:

    corpus            public text and one silo a client
    standard_library  the embedded federation: packages found on every machine play companies
    jsonl             a federation from the user's own file
    tokenizer         byte-level BPE, trained or loaded
    blocks            texts → token blocks and labels
    models            a causal language model from a configuration or a directory
    methods           what is trained of it: LoRA, everything, everything from random weights
    lora_aggregation  what of adapters a round sends, so that the mean of the clients is the right one
    core              a trained r × r matrix between fixed factors
    ranks             adapters of different ranks: zero padding, counts, means over holders
    schedule          learning rate by step and by round
    training          local steps
    evaluation        held-out loss
    pretraining       the public start, trained once and cached
    client            `LocalTrainer` for all of the above
    runtime           threads, and libraries that stay quiet
"""

import os

# How long torch's threads spin while they wait for each other; its thread library reads it once, when torch is loaded.
# By default that is so long that a step of a small model takes 5 to 40 times as long where another program wants the
# same core. Not spinning at all (OMP_WAIT_POLICY=PASSIVE) doubles the time of an adapter's step on a quiet machine;
# this little costs nothing there. What the user has set stays.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
