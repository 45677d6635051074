"""The recorded table of search: trainings of many configurations with several seeds, every epoch of which was judged in
every way, so that whole searches can be replayed in no time.

Made           `record`; `again`, for criteria that came later
Read           `criteria_regret`
"""
