"""Watching runs in a browser while they go on. Nothing here writes to a run's folder.

A run              `follow`, `live`, `watched`
Several            `several`
The page           `parts`; the script that renews it is `templates/live.js`
The server         `server`
"""
