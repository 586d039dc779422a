"""The training step of W-TALC's published code, written plainly, as a reference for speed (Paul et al. 2018)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from avloc.formats.features import FeatureStore


class WTALC(nn.Module):
    """x = dropout(ReLU(FC(v))), h = FC(x)."""

    def __init__(self, size: int, classes: int) -> None:
        super().__init__()
        self.fc, self.classifier, self.dropout = nn.Linear(size, size), nn.Linear(size, classes), nn.Dropout(0.7)

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        x = self.dropout(F.relu(self.fc(rows)))
        return x, self.classifier(x)


class WTALCLoop:
    """Batches of 3 pairs and 4 more videos, all their snippets (at most 750), Adam."""

    def __init__(self, store: FeatureStore, labels: dict[str, int], classes: int, longest: int = 750) -> None:
        self.rng = np.random.default_rng(0)
        self.videos = [store.load(name).visual[:longest] for name in store.ids]  # as published: all in memory
        self.labels = [labels[name] for name in store.ids]
        self.classes = classes
        self.model = WTALC(self.videos[0].shape[1], classes)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-4, weight_decay=5e-4)

    def batch(self) -> list[int]:
        chosen: list[int] = []
        for c in self.rng.permutation(self.classes):
            members = [i for i, label in enumerate(self.labels) if label == c]
            if len(members) >= 2 and len(chosen) < 6:
                chosen += self.rng.choice(members, 2, replace=False).tolist()
        return chosen + self.rng.choice(len(self.videos), 10 - len(chosen)).tolist()

    def step(self) -> None:
        indices = self.batch()
        lengths = [len(self.videos[i]) for i in indices]
        features = pad_sequence([torch.from_numpy(self.videos[i]) for i in indices], batch_first=True)
        labels = F.one_hot(torch.tensor([self.labels[i] for i in indices]), self.classes).float()
        x, logits = self.model(features)
        loss = 0.5 * self._mil(logits, lengths, labels) + 0.5 * self._pairs(x, logits, lengths, labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def _mil(self, logits: Tensor, lengths: list[int], labels: Tensor) -> Tensor:
        rows = []
        for i, length in enumerate(lengths):
            top, _ = torch.topk(logits[i][:length], k=int(max(np.ceil(length / 8), 1)), dim=0)
            rows.append(top.mean(dim=0, keepdim=True))
        target = labels / labels.sum(dim=1, keepdim=True)
        return -(target * F.log_softmax(torch.cat(rows), dim=1)).sum(dim=1).mean()

    def _pairs(self, x: Tensor, logits: Tensor, lengths: list[int], labels: Tensor) -> Tensor:
        loss, count = torch.zeros(()), 0.0
        for i in range(0, 6, 2):
            high, low = [], []
            for v in (i, i + 1):
                attention = F.softmax(logits[v][: lengths[v]], dim=0)
                columns = x[v][: lengths[v]].T
                high.append(columns @ attention)
                low.append(columns @ ((1 - attention) / max(lengths[v] - 1, 1)))
            shared = labels[i] * labels[i + 1]
            together = _distance(high[0], high[1])
            for one, other in ((high[0], low[1]), (low[0], high[1])):
                loss = loss + 0.5 * (F.relu(together - _distance(one, other) + 0.5) * shared).sum()
            count += float(shared.sum())
        return loss / max(count, 1.0)


def _distance(a: Tensor, b: Tensor) -> Tensor:
    return 1 - F.cosine_similarity(a, b, dim=0)
