"""Language models: data and partitions, tokenizers, models, what is trained of them, evaluation.

The only room that imports torch, transformers and peft (the `llm` extra). One file a subject:

    corpus            public text and one silo a client
    standard_library  the embedded federation: packages found on every machine play companies
    jsonl             a federation from the user's own file
    tokenizer         byte-level BPE, trained or loaded
    blocks            texts → token blocks and labels
    models            a causal language model from a configuration or a directory
    methods           what is trained of it: LoRA, everything, everything from random weights
    schedule          learning rate by step and by round
    training          local steps
    evaluation        held-out loss
    pretraining       the public start, trained once and cached
    client            `LocalTrainer` for all of the above
    runtime           threads, and libraries that stay quiet
"""

import os

# Set before torch loads its thread library, which reads it once. By default idle threads spin, and where another
# program wants the same core (a shared machine, continuous integration) a step takes 10 to 40 times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
