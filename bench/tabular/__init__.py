"""The recorded table of search: trainings of many configurations with several seeds, every epoch of which was judged in
every way, so that whole searches can be replayed in no time.

Made           `record`; `again`, for criteria that came later
Replayed       `replay`, in its `space`
Searched       `regret`, by our search and by `peers`
Judges         `judges`, which ranks as the test images do; `criteria_regret`, what choosing without labels costs;
               `criteria_across`, whether criteria rank methods
Seeds          `seeds`, what one does to all configurations
Told           `printing`
"""
