"""segments.yml: read, checked, and wrong ones named with file and line; what segments are sent as."""

from pathlib import Path

import jsonschema
import pytest
import yaml
from segment_projects import PROJECT, project_with

from commerce_assets.activation.declarations import refuse_shared_fields
from commerce_assets.activation.errors import DeclarationError, OwnershipError
from commerce_assets.activation.segments import UnknownSegmentError, json_schema, read_segments, segment_named
from commerce_assets.activation.segments_syncs import audience_models, declarations_of, storefront_segments

ONE = """\
segments:
  - name: loyal
    title: Loyal
    description: Comes back.
    where: c.order_count >= 5
    send_to: [shopify]
"""
SENT = """\
segments:
  - name: loyal
    title: Loyal
    description: Comes back.
    where: c.order_count >= 5
    owner: team:loyalty
    consent: email
    send_to:
      - shopify
      - file: {folder: audiences, layout: google_customer_match}
        name: google
      - file: {folder: audiences, layout: meta_custom_audience}
        name: meta
      - http: {url: "https://tool.example.com/people"}
"""


def mistakes_of(folder: Path, text: str) -> list[str]:
    with pytest.raises(DeclarationError) as refused:
        declarations_of(read_segments(project_with(folder, text)))
    return str(refused.value).splitlines()


def test_a_segment_is_read_with_its_condition_written_anew(tmp_path: Path) -> None:
    (segment,) = read_segments(project_with(tmp_path, ONE))
    assert (segment.name, segment.condition.sql, segment.condition.columns) == ("loyal", "c.order_count >= 5", ("c.order_count",))
    assert segment.place == "segments.yml:2"


@pytest.mark.parametrize("text", ["", "segments:\n", "segments: []\n"])
def test_a_file_without_segments_has_none(text: str, tmp_path: Path) -> None:
    assert read_segments(project_with(tmp_path, text)) == ()


def test_a_project_without_the_file_has_no_segments(tmp_path: Path) -> None:
    assert read_segments(tmp_path) == ()


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("where: c.order_count >= 5", "where: c.ordr_count >= 5", "segments.yml:5: where: there is no column c.ordr_count: did you mean c.order_count"),
        ("where: c.order_count >= 5", "where: |\n      c.order_count >= 5;\n      drop table c", "segments.yml:5: where: this is not one SQL expression"),
        ("name: loyal", "name: Loyal Ones", "segments.yml:2: name: String should match pattern"),
        ("name: loyal", f"name: {'l' * 41}", "segments.yml:2: name: String should have at most 40 characters"),
        ("    title: Loyal\n", "", "segments.yml:2: title: Field required"),
        ("title: Loyal", "title: \"{{ env_var('HOME') }}\"", "segments.yml:3: title: Value error, {{, {% and {# are not allowed here"),
        ("description: Comes back.", "description: \"a {% raw %}\"", "segments.yml:4: description: Value error, {{, {% and {# are not allowed"),
        ("send_to: [shopify]", "sent_to: [shopify]", "segments.yml:6: sent_to: Extra inputs are not permitted"),
        ("send_to: [shopify]", "send_to: [mailchimp]", "segments.yml:6: send_to.0: Send to `shopify`, to `file: {folder: …}`"),
        ("send_to: [shopify]", "send_to:\n      - shopify\n      - file: {layout: plain}", "segments.yml:8: send_to.1.file.file.folder: Field required"),
        ("send_to: [shopify]", "send_to:\n      - file: {folder: out}", "say which consent it takes"),
        ("send_to: [shopify]", "consent: letter", "segments.yml:6: consent: Input should be 'email' or 'sms'"),
        ("send_to: [shopify]", "owner: nobody", "segments.yml:6: owner: String should match pattern"),
        ("segments:", "segment:", "segments.yml:1: it holds one list, `segments:`"),
        ("title: Loyal", "title: [Loyal", "not YAML"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_line(old: str, new: str, told: str, tmp_path: Path) -> None:
    (mistake, *_) = mistakes_of(tmp_path, ONE.replace(old, new))
    assert told in mistake


def test_mistakes_of_all_segments_are_told_together(tmp_path: Path) -> None:
    other = ONE.replace("segments:\n", "").replace("c.order_count >= 5", "order_count >= 5")
    told = mistakes_of(tmp_path, ONE.replace("c.order_count >= 5", "c.order_count") + other)
    assert [line.split(": ")[0] for line in told] == ["segments.yml:5", "segments.yml:10"]


def test_two_segments_of_one_name_are_refused(tmp_path: Path) -> None:
    (told,) = mistakes_of(tmp_path, ONE + ONE.replace("segments:\n", ""))
    assert told.startswith("segments.yml:7: there is another segment 'loyal' at segments.yml:2")


def test_two_files_of_one_segment_need_names_of_their_own(tmp_path: Path) -> None:
    (told,) = mistakes_of(tmp_path, SENT.replace("        name: google\n", "").replace("        name: meta\n", ""))
    assert "send_to names file twice" in told


def test_what_a_file_cannot_be_is_told_with_the_segments_place(tmp_path: Path) -> None:
    (told,) = mistakes_of(tmp_path, SENT.replace("layout: google_customer_match", "layout: google_customer_match, format: jsonl"))
    assert told.startswith("segments.yml:2: segment loyal, google: ")
    assert "CSV" in told


def test_a_segment_that_is_asked_for_by_a_wrong_name_is_told_which_there_are(tmp_path: Path) -> None:
    segments = read_segments(project_with(tmp_path, ONE))
    assert segment_named(segments, "loyal").name == "loyal"
    with pytest.raises(UnknownSegmentError, match="there is no segment 'vip'; there are loyal"):
        segment_named(segments, "vip")


def test_the_shop_is_to_have_a_segment_on_the_tag(tmp_path: Path) -> None:
    assert storefront_segments(read_segments(project_with(tmp_path, SENT))) == [
        ("loyal", "Loyal", "customer_tags CONTAINS 'segment:loyal'")
    ]
    assert storefront_segments(read_segments(project_with(tmp_path, SENT.replace("      - shopify\n", "")))) == []


def test_each_file_and_endpoint_is_a_mirror_of_its_own_with_consent(tmp_path: Path) -> None:
    segments = read_segments(project_with(tmp_path, SENT))
    syncs = [placed.declared for placed in declarations_of(segments)]
    assert [(sync.name, sync.destination, sync.model) for sync in syncs] == [
        ("segment_loyal_google", "file", "sync_file__segment_loyal"),
        ("segment_loyal_meta", "file", "sync_file__segment_loyal"),
        ("segment_loyal_http", "http", "sync_http__segment_loyal"),
    ]
    assert {(sync.mode, sync.consent.channel if sync.consent else None, sync.owner) for sync in syncs} == {
        ("mirror", "email", "team:loyalty")
    }
    assert [model.name for model in audience_models(segments)] == ["sync_file__segment_loyal", "sync_http__segment_loyal"]


def test_no_address_leaves_unhashed_for_an_advertising_tool(tmp_path: Path) -> None:
    google, meta, http = (placed.declared for placed in declarations_of(read_segments(project_with(tmp_path, SENT))))
    for sync in (google, meta):
        assert {one.name: one.type for one in sync.fields if one.name in ("email", "phone")} == {
            "email": "email_sha256",
            "phone": "phone_sha256",
        }
    assert {one.name: one.type for one in http.fields}["email"] == "text"


def test_two_segments_into_one_file_are_refused_by_the_ownership_lint(tmp_path: Path) -> None:
    text = SENT.replace("folder: audiences, layout: google", "folder: audiences, file: all, layout: google").replace(
        "      - http: ", "      #"
    )
    other = text.replace("segments:\n", "").replace("loyal", "dear")
    syncs = declarations_of(read_segments(project_with(tmp_path, text + other)))
    with pytest.raises(OwnershipError, match="segment_dear_google"):
        refuse_shared_fields(syncs)


def test_the_schema_for_editors_takes_what_is_shipped() -> None:
    shipped = yaml.safe_load((PROJECT / "segments.yml").read_text())
    jsonschema.validate(shipped, json_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"segments": [{**shipped["segments"][0], "sent_to": []}]}, json_schema())


def test_the_segments_that_every_retailer_wants_are_shipped() -> None:
    shipped = {segment.name: segment for segment in read_segments(PROJECT)}
    assert list(shipped) == [
        "vip",
        "lapsed_90_days_high_value",
        "at_risk_vip",
        "second_order_nudge",
        "next_order_within_7_days",
        "high_return_rate",
        "bargain_hunters",
        "new_this_month",
        "win_back_eligible",
    ]
    assert all(segment.declared.is_sent_to_shopify for segment in shipped.values())
