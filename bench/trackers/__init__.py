"""The same records for the trackers that people have.

What a tracker is  `tracker`; `by_trial`, what ours share; `known` names ours and a user's
Ours               `tensorboard`, `wandb`, `mlflow`, `trackio`
What feeds it      `feeder`, from the lines of a ledger; `following`, beside a run, in a process of its own
"""
