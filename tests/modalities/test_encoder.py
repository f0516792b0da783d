"""The image tower: what it computes of a grey picture."""

import pytest

torch = pytest.importorskip("torch", reason="needs the extra train")
timm = pytest.importorskip("timm", reason="needs the extra train")

from torch import Tensor, nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from medclip.modalities.scan.encoder import ScanTower  # noqa: E402
from medclip.modalities.scan.prepare import Preprocessing  # noqa: E402

SIDE = 64


class Visual(nn.Module):
    """A trunk with random weights, as open_clip holds it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=0)

    def forward(self, x: Tensor) -> Tensor:
        return self.trunk(x)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("mean", "std"),
    [((0.5, 0.5, 0.5), (0.25, 0.25, 0.25)), ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))],
    ids=["channels alike", "channels of their own"],
)
def test_a_grey_picture_counts_as_one_of_three_equal_channels(
    mean: tuple[float, float, float], std: tuple[float, float, float]
) -> None:
    visual = Visual().eval()
    how = Preprocessing(size=SIDE, resize="pad", interpolation="bicubic", mean=mean, std=std)
    tower = ScanTower(visual, how).eval()
    pictures = torch.randint(0, 256, (2, SIDE, SIDE), dtype=torch.uint8)
    colour = (pictures / 255)[:, None].expand(-1, 3, -1, -1)
    normal = (colour - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1)
    with torch.inference_mode():
        last = functional.normalize(visual.trunk.forward_features(normal).mean((2, 3)), dim=-1)
        found = tower(pictures)
    assert torch.allclose(found[:, -last.shape[1] :], last, atol=1e-5)


def test_a_tower_that_is_tuned_is_read_with_its_new_weights() -> None:
    visual = Visual().eval()
    how = Preprocessing(size=SIDE, resize="pad", interpolation="bicubic", mean=(0.5,) * 3, std=(0.5,) * 3)
    tower = ScanTower(visual, how).eval()
    pictures = torch.randint(0, 256, (1, SIDE, SIDE), dtype=torch.uint8)
    before = tower(pictures)
    before.sum().backward()
    weight = visual.trunk.conv_stem.weight
    assert weight.grad is not None
    assert weight.grad.abs().max() > 0
    with torch.no_grad():
        weight.add_(weight.flip(0))
        assert not torch.allclose(tower(pictures), before, atol=1e-3)
