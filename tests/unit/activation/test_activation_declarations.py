"""Declared syncs: read from YAML, wrong ones named with file and line, no two on one field."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from commerce_assets.activation.declarations import json_schema, read_file, read_syncs, sync_named
from commerce_assets.activation.errors import DeclarationError, OwnershipError, UnknownSyncError
from commerce_assets.activation.records import Canary, Consent, Guards, Holdout, ValueRange
from commerce_assets.config import PROJECT_ROOT

SHIPPED = PROJECT_ROOT / "commerce_assets" / "defs" / "activation"
BLOCK = """\
type: commerce_assets.defs.activation.component.SyncComponent
attributes:
  name: {name}
  description: Loyalty points.
  model: sync_shopify__{name}
  target: {{kind: shopify, object: customer}}
  key: {{column: customer_gid}}
  mode: upsert
  fields:
    - name: points
      type: integer
      metafield: {{key: {metafield}, type: number_integer}}
    - name: labels
      type: tags
      tags: {{prefixes: ["{prefix}"]}}
"""


def write(folder: Path, name: str, *, metafield: str = "points", prefix: str = "loyalty:", text: str | None = None) -> Path:
    path = folder / name / "defs.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(text or BLOCK.format(name=name, metafield=metafield, prefix=prefix))
    return path


def mistakes(path: Path) -> list[str]:
    with pytest.raises(DeclarationError) as raised:
        read_file(path, shown="defs.yaml")
    return str(raised.value).splitlines()


def test_the_shipped_syncs_are_read_and_fit_the_schema_that_editors_get() -> None:
    syncs = read_syncs(SHIPPED)
    assert {"customer_scores", "product_recommendations"} <= set(syncs)
    validator = jsonschema.Draft202012Validator(json_schema())
    for path in SHIPPED.rglob("defs.yaml"):
        for block in yaml.safe_load_all(path.read_text()):
            validator.validate(block)


def test_the_schema_beside_the_syncs_is_the_one_in_force() -> None:
    written = json.loads((SHIPPED / "sync.schema.json").read_text())
    assert written == json_schema(), "run `commerce sync schema > commerce_assets/defs/activation/sync.schema.json`"


def test_a_block_becomes_a_sync_with_all_it_says(tmp_path: Path) -> None:
    more = """\
  canary: {share: 0.1, max_failed_rate: 0.5}
  holdout: {share: 0.2}
  consent: {channel: email}
  guards: {max_rows: 5, values: [{field: points, at_least: 0}]}
"""
    path = write(tmp_path, "loyalty", text=BLOCK.format(name="loyalty", metafield="points", prefix="loyalty:") + more)
    (placed,) = read_file(path)
    sync = placed.declared.as_sync()
    assert (sync.destination, sync.name, sync.mode, sync.mapped, sync.sets) == (
        "shopify",
        "loyalty",
        "upsert",
        ("points", "labels"),
        ("labels",),
    )
    assert sync.canary == Canary(share=0.1, max_failed_rate=0.5)
    assert sync.holdout == Holdout(0.2, "loyalty")
    assert sync.consent == Consent("email")
    assert sync.guards == Guards(max_rows=5, values=(ValueRange("points", at_least=0.0),))


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("type: integer", "type: numbr", 11, "fields.0.type: Input should be 'text'"),
        ("mode: upsert", "mode: replace", 8, "mode: Input should be 'upsert'"),
        ("kind: shopify", "kind: fax", 6, "target: Input tag 'fax'"),
        ("object: customer", "object: shop", 6, "object: Input should be 'customer'"),
        ("  mode: upsert", "  mood: upsert", 8, "mood: Extra inputs are not permitted"),
        ("type: tags", "type: text", 2, "field labels has `tags`, so its type must be tags"),
        ("      tags: {prefixes", "      # tags: {prefixes", 2, "field labels goes nowhere"),
        ("name: labels", "name: points", 2, "field points is there twice"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, old: str, new: str, line: int, says: str) -> None:
    text = BLOCK.format(name="loyalty", metafield="points", prefix="loyalty:")
    assert old in text
    found = mistakes(write(tmp_path, "loyalty", text=text.replace(old, new, 1)))
    assert any(one.startswith(f"defs.yaml:{line}: ") or says.startswith("field") for one in found), found
    assert any(says in one for one in found), found


def test_every_mistake_of_a_block_is_named_at_once(tmp_path: Path) -> None:
    text = (
        BLOCK.format(name="loyalty", metafield="points", prefix="loyalty:")
        .replace("type: integer", "type: numbr")
        .replace("mode: upsert", "mode: x")
    )
    assert len(mistakes(write(tmp_path, "loyalty", text=text))) == 2


def test_what_is_no_yaml_is_named_with_its_line(tmp_path: Path) -> None:
    assert mistakes(write(tmp_path, "loyalty", text="type: x\nattributes: [1\n"))[0].startswith("defs.yaml:3: not YAML")


def test_blocks_of_other_components_are_left_to_dagster(tmp_path: Path) -> None:
    path = write(tmp_path, "other", text="type: dagster_dbt.DbtProjectComponent\nattributes: {project: x}\n")
    assert read_file(path) == []


def test_one_file_may_hold_several_syncs(tmp_path: Path) -> None:
    both = "\n---\n".join(BLOCK.format(name=name, metafield=name, prefix=f"{name}:") for name in ("one", "two"))
    write(tmp_path, "both", text=both)
    syncs = read_syncs(tmp_path)
    assert {name: placed.line for name, placed in syncs.items()} == {"one": 1, "two": 18}


def test_two_syncs_on_one_metafield_are_refused_with_both_places(tmp_path: Path) -> None:
    write(tmp_path, "first")
    write(tmp_path, "second", prefix="second:")
    with pytest.raises(OwnershipError) as raised:
        read_syncs(tmp_path)
    said = str(raised.value)
    assert "second/defs.yaml:1: sync second writes shopify/customer/metafield/commerce.points, which sync first" in said
    assert "first/defs.yaml:1) writes too" in said
    assert "each field has one owner" in said


@pytest.mark.parametrize(("one", "other"), [("vip:", "vip:"), ("vip:", "vip:gold"), ("VIP:", "vip:"), ("v", "vip:")])
def test_tags_that_begin_alike_have_one_owner(tmp_path: Path, one: str, other: str) -> None:
    write(tmp_path, "first", metafield="points_one", prefix=one)
    write(tmp_path, "second", metafield="points_two", prefix=other)
    with pytest.raises(OwnershipError, match="shopify/customer/tag/"):
        read_syncs(tmp_path)


def test_tags_that_begin_differently_go_together(tmp_path: Path) -> None:
    write(tmp_path, "first", metafield="points_one", prefix="vip:")
    write(tmp_path, "second", metafield="points_two", prefix="vipx:")
    assert set(read_syncs(tmp_path)) == {"first", "second"}


def test_two_syncs_of_one_name_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "first")
    write(tmp_path / "again", "first", metafield="points_two", prefix="second:")
    with pytest.raises(DeclarationError, match="there is another sync 'first' at"):
        read_syncs(tmp_path)


def test_an_unknown_sync_is_answered_with_those_there_are(tmp_path: Path) -> None:
    write(tmp_path, "first")
    with pytest.raises(UnknownSyncError, match="there is no sync 'frist'; there are first"):
        sync_named(read_syncs(tmp_path), "frist")
