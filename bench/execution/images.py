"""The images that a command asks for, and what is to be known of them before anything is trained on them."""

from bench.data import images
from bench.data.dataset import Dataset
from bench.data.source import Asked
from bench.execution.configuration import TrainingConfiguration
from bench.report.text import one_line


def load(configuration: TrainingConfiguration, usual: str) -> Dataset:
    """The images, of the data set `usual` where none is named; what they are and what is doubtful is printed. Raises
    UserError."""
    dataset = images.load(
        configuration.dataset or usual,
        image_size=configuration.image_size,
        fit=configuration.fit,
        strict=configuration.strict,
        limit=configuration.limit,
        asked=Asked(
            labels=configuration.labels,
            unlabelled=configuration.unlabelled,
            group=configuration.group,
            group_by=configuration.group_by,
        ),
        drop_duplicates=configuration.drop_duplicates,
    )
    labelled = bool((dataset.train.labels >= 0).any())
    of = f"of {len(dataset.classes)} classes ({one_line(', '.join(dataset.classes))})" if labelled else "without labels"
    print(f"{dataset.note}: {len(dataset.train.labels):,} training and {len(dataset.test.labels):,} test images {of}")
    for remark in dataset.remarks:
        print(f"note: {one_line(remark, 1000)}")
    return dataset
