"""lightly's example training loops (lightly, examples/pytorch/*.py), with its transforms, heads, losses and DataLoader.

Only what the examples leave to the reader is set here: the encoder is the one that we train, images come from memory
as PIL images (nothing is decoded), views have our sizes, numbers and strengths, heads our widths.
"""

import copy
from collections.abc import Callable, Iterator

import numpy as np
import torch
from lightly.loss import BarlowTwinsLoss, DINOLoss, NegativeCosineSimilarity, NTXentLoss, SwaVLoss
from lightly.models.modules import (
    BarlowTwinsProjectionHead,
    BYOLPredictionHead,
    BYOLProjectionHead,
    DINOProjectionHead,
    MoCoProjectionHead,
    SimCLRProjectionHead,
    SimSiamPredictionHead,
    SimSiamProjectionHead,
    SwaVProjectionHead,
    SwaVPrototypes,
)
from lightly.models.utils import deactivate_requires_grad, update_momentum
from lightly.transforms import DINOTransform, MoCoV2Transform, SimCLRTransform, SimSiamTransform, SwaVTransform
from lightly.transforms.byol_transform import BYOLTransform, BYOLView1Transform, BYOLView2Transform
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset


class InMemory(Dataset):
    def __init__(self, images: Tensor, transform: Callable):
        self.images = [Image.fromarray(np.asarray(image.permute(1, 2, 0))) for image in images]
        self.transform = transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int):
        return self.transform(self.images[index]), 0


def loader(images: Tensor, transform: Callable, batch_size: int, workers: int) -> DataLoader:
    return DataLoader(
        InMemory(images, transform),
        batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


class Head(nn.Module):
    """An encoder and lightly's head."""

    def __init__(self, encoder: nn.Module, head: nn.Module):
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(x))


class SimCLR(nn.Module):
    def __init__(self, encoder, width, size, crops, hp):
        super().__init__()
        self.online = Head(encoder, SimCLRProjectionHead(width, width, hp["projector_width"]))
        self.criterion = NTXentLoss(hp["temperature"])
        self.transform = SimCLRTransform(size, cj_strength=0.5, gaussian_blur=0.0)

    def forward(self, views):
        return self.criterion(self.online(views[0]), self.online(views[1]))


class BYOL(nn.Module):
    def __init__(self, encoder, width, size, crops, hp):
        super().__init__()
        hidden, out = hp["projector_hidden"], hp["projector_width"]
        self.online = Head(encoder, BYOLProjectionHead(width, hidden, out))
        self.predictor = BYOLPredictionHead(out, hp["predictor_hidden"], out)
        self.target = copy.deepcopy(self.online)
        deactivate_requires_grad(self.target)
        self.criterion = NegativeCosineSimilarity()
        self.momentum = hp["ema_momentum"]
        self.transform = BYOLTransform(
            BYOLView1Transform(size, gaussian_blur=0.0), BYOLView2Transform(size, gaussian_blur=0.0)
        )

    def forward(self, views):
        update_momentum(self.online, self.target, m=self.momentum)
        p0, p1 = self.predictor(self.online(views[0])), self.predictor(self.online(views[1]))
        with torch.no_grad():
            z0, z1 = self.target(views[0]), self.target(views[1])
        return 0.5 * (self.criterion(p0, z1) + self.criterion(p1, z0))


class MoCo(nn.Module):
    def __init__(self, encoder, width, size, crops, hp):
        super().__init__()
        out = hp["projector_width"]
        self.online = Head(encoder, MoCoProjectionHead(width, hp.get("projector_hidden", width), out))
        self.target = copy.deepcopy(self.online)
        deactivate_requires_grad(self.target)
        self.criterion = NTXentLoss(hp["temperature"], memory_bank_size=(hp["queue_length"], out))
        self.momentum = hp["ema_momentum"]
        self.transform = MoCoV2Transform(size, gaussian_blur=0.0)

    def forward(self, views):
        update_momentum(self.online, self.target, m=self.momentum)
        query = self.online(views[0])
        with torch.no_grad():
            key = self.target(views[1])
        return self.criterion(query, key)


class SwAV(nn.Module):
    def __init__(self, encoder, width, size, crops, hp):
        super().__init__()
        out = hp["projector_width"]
        self.online = Head(encoder, SwaVProjectionHead(width, hp["projector_hidden"], out))
        self.prototypes = SwaVPrototypes(out, hp["prototypes"])
        self.criterion = SwaVLoss(hp["temperature"])
        local, count = crops
        self.transform = SwaVTransform((size, local), (2, count), cj_strength=0.5, gaussian_blur=0.0)

    def forward(self, views):
        self.prototypes.normalize()
        scores = [self.prototypes(nn.functional.normalize(self.online(view))) for view in views]
        return self.criterion(scores[:2], scores[2:])


class DINO(nn.Module):
    def __init__(self, encoder, width, size, crops, hp):
        super().__init__()
        shape = (width, hp["projector_hidden"], hp["projector_width"], hp["prototypes"])
        teacher = copy.deepcopy(encoder)
        self.student = Head(encoder, DINOProjectionHead(*shape, freeze_last_layer=1))
        self.teacher = Head(teacher, DINOProjectionHead(*shape))
        deactivate_requires_grad(self.teacher)
        self.criterion = DINOLoss(hp["prototypes"], warmup_teacher_temp_epochs=5)
        self.momentum = hp["ema_momentum"]
        local, count = crops
        self.transform = DINOTransform(size, local_crop_size=local, n_local_views=count, gaussian_blur=(0, 0, 0))

    def forward(self, views):
        update_momentum(self.student, self.teacher, m=self.momentum)
        with torch.no_grad():
            teacher = [self.teacher(view) for view in views[:2]]
        student = [self.student(view) for view in views]
        return self.criterion(teacher, student, epoch=0)


class BarlowTwins(nn.Module):
    def __init__(self, encoder, width, size, crops, hp):
        super().__init__()
        self.online = Head(encoder, BarlowTwinsProjectionHead(width, hp["projector_hidden"], hp["projector_width"]))
        self.criterion = BarlowTwinsLoss()
        self.transform = BYOLTransform(
            BYOLView1Transform(size, gaussian_blur=0.0), BYOLView2Transform(size, gaussian_blur=0.0)
        )

    def forward(self, views):
        return self.criterion(self.online(views[0]), self.online(views[1]))


class SimSiam(nn.Module):
    def __init__(self, encoder, width, size, crops, hp):
        super().__init__()
        hidden, out = hp["projector_hidden"], hp["projector_width"]
        self.online = Head(encoder, SimSiamProjectionHead(width, hidden, out))
        self.predictor = SimSiamPredictionHead(out, hp["predictor_hidden"], out)
        self.criterion = NegativeCosineSimilarity()
        self.transform = SimSiamTransform(size, gaussian_blur=0.0)

    def forward(self, views):
        z0, z1 = self.online(views[0]), self.online(views[1])
        p0, p1 = self.predictor(z0), self.predictor(z1)
        return 0.5 * (self.criterion(z0.detach(), p1) + self.criterion(z1.detach(), p0))


METHODS = {
    "simclr": SimCLR,
    "byol": BYOL,
    "moco": MoCo,
    "swav": SwAV,
    "dino": DINO,
    "barlow": BarlowTwins,
    "simsiam": SimSiam,
}


class LightlyLoop:
    """One of lightly's examples on `images` (uint8 [N, 3, S, S]); `epoch()` is its loop body over the DataLoader."""

    def __init__(
        self,
        name: str,
        images: Tensor,
        encoder: nn.Module,
        crops: tuple[int, int],
        hyperparameters: dict,
        batch_size: int,
        workers: int,
        device: str = "cpu",
    ):
        size = images.shape[-1]
        self.device = device
        self.model = METHODS[name](encoder, encoder.width, size, crops, hyperparameters).to(device).train()
        self.loader = loader(images, self.model.transform, batch_size, workers)
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.SGD(parameters, lr=0.06, momentum=0.9, weight_decay=5e-4)

    def steps(self) -> Iterator[Tensor]:
        for views, _ in self.loader:
            loss = self.model([view.to(self.device) for view in views])
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
            yield loss.detach()

    def epoch(self) -> float:
        return sum(self.steps()).item()
