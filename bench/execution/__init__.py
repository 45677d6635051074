"""Carrying out what is asked.

As a call          `configuration`, `images`, `prepared`, `benchmark`, `single`, `again`, `judging`, `embedding`,
                   `profile`
Kept encoders      `card`, `takeaway`, `graph`, `export`
What is trained    `settings`, `brought`, `training`, `protocols`, `factory`, `calibration`
Networks           `pretrained`, `sources`, `networks`
The driver         `driver`, `session`, `recovery`, `signals`, `progress`
Executors          `executor`, `tune`, `ray_cluster`, `processes`, `interpreter`
A worker           `worker`, `attempt`, `attempt_folder`, `answer`, `failures`, `process`, `checkpoint`, `kept`
By hand            `stopping`
"""
