"""What to run next and whom to believe.

The record         `events`, `trials`, `fold`, `ledger`
What is asked      `budget`, `experiment`, `methods`; `space`, of `entries` and presets of `augmentation`
The plan           `plan`, `planning`, `description`
Choosing           `search`, which puts together `proposals`, `race`, `confirmations`, `evaluations`, `winners`,
                   `decisions`, `selection`
Accounts           `meter`, `paces`, `shares`, `tally`
Plugged in         `searchers`, `schedulers`, `plugins`, `studies`
Proposing          `prior`, by a `gaussian_process`; `learning` from earlier runs
Given out          `job`
For Optuna's tools `exported`
Without a worker   `simulate`, `audit`
"""
