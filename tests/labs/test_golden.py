"""Every recording says today what it said when it was made."""

import pytest
import torch

from tests.labs import witness

LABS = [
    pytest.param(path.stem, marks=[pytest.mark.oracle] if hasattr(witness.recipe(path.stem), "NEEDS") else [])
    for path in sorted((witness.ROOT / "fixtures" / "golden").glob("lab*.safetensors"))
]

# diffusers' schedulers hand torch tensors to numpy in a way that numpy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.mark.parametrize("lab", LABS)
def test_the_recording_is_what_its_recipe_makes(lab):
    recipe, kept = witness.recipe(lab), witness.golden(lab)
    if needed := getattr(recipe, "NEEDS", None):
        pytest.importorskip(needed, reason=f"the witness of {lab} needs {needed}: install the oracle extra")
    made = recipe.make()
    assert made.keys() == kept.keys()
    for name, value in made.items():
        assert value.dtype == kept[name].dtype, name
        torch.testing.assert_close(
            value, kept[name], atol=5e-5, rtol=5e-5, msg=lambda text, name=name: f"{name}: {text}"
        )
