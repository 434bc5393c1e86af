// Judges the tour: every decision, and each record's value against the golden file.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { inPage } from "./chromium.mjs";

const DATA = new URL("../../../../crates/valuation/tests/data/", import.meta.url);
const GIVEN = "PERMIT CONSENT_GIVEN";

export async function runTour(browser, { origin, operatorPassword, script }) {
  const records = readDigits();
  assert.equal(records.length, 1797);
  const story = await inPage(browser, origin, {}, async (page) => {
    await page.goto(`${origin}/`);
    await page.evaluate(script);
    const input = { operatorPassword, tag: randomBytes(4).toString("hex"), records };
    return page.evaluate((input) => globalThis.portal.tour(input), input);
  });
  judgeConsents(story);
  judgeValues(story, records);
  return { watched: [story.all.watched, story.rest.watched], values: [story.all.values.length, story.rest.values.length] };
}

function judgeConsents({ statuses, before, denied, after }) {
  assert.deepEqual(statuses, ["GIVEN", "REFUSED", "GIVEN", "GIVEN", "WITHDRAWN", "WITHDRAWN"]);
  assert.deepEqual(before, [GIVEN, "DENY CONSENT_REFUSED", GIVEN, "DENY CONSENT_WITHDRAWN"]);
  assert.deepEqual(after, ["DENY CONSENT_WITHDRAWN", GIVEN]);
  assert.match(denied[0], /^PermissionDenied portal\/[A-Z_]+$/, "another's consents");
  assert.match(denied[1], /^Unauthenticated portal\/[A-Z_]+$/, "no token");
  assert.match(denied[2], /^InvalidArgument portal\/[A-Z_]+$/, "a negative page size");
}

function judgeValues({ subjects, appended, all, rest }, records) {
  assert.equal(appended, records.length);
  const training = records.filter((record) => record.split === "TRAIN");
  const ids = (wanted) => wanted.map((record) => record.recordId).sort();
  for (const valuation of [all, rest]) {
    assert.equal(valuation.state, "SUCCEEDED");
    assert.equal(valuation.recordCount, valuation.values.length);
    assert.equal(valuation.pages, Math.ceil(valuation.values.length / 500), "pages of 500");
    assert.ok(["SUCCEEDED", "UNIMPLEMENTED"].includes(valuation.watched.at(-1)), "the stream tells the end");
    const values = valuation.values.map((one) => one.value);
    assert.deepEqual(values, [...values].sort((a, b) => b - a), "highest first");
    for (const { recordId, subjectId } of valuation.values) {
      assert.equal(subjectId, subjects[training.find((record) => record.recordId === recordId)?.owner], recordId);
    }
  }

  assert.deepEqual(ids(all.values), ids(training), "everybody consents: every training record has a value");
  const golden = readGolden();
  for (const { recordId, value } of all.values) {
    const error = Math.abs(value - golden.get(recordId));
    assert.ok(error < 1e-9, `${recordId}: ${value} is not ${golden.get(recordId)}`);
  }

  const left = training.filter((record) => record.owner === 1);
  assert.deepEqual(ids(rest.values), ids(left), "who withdrew has no value any more, the other still has");
  assert.equal(rest.values.filter((one) => one.subjectId === subjects[0]).length, 0);
  const excluded = rest.exclusions.reduce((sum, one) => sum + one.training, 0);
  assert.equal(excluded, training.length - left.length, "the valuation says how many it left out");
}

function readDigits() {
  return lines("digits.csv").map((line, index) => {
    const [recordId, split, label, ...features] = line.split(",");
    assert.equal(features.length, 64);
    return { recordId, split, label: Number(label), features: features.map(Number), owner: index % 2 };
  });
}

function readGolden() {
  return new Map(lines("digits.knn_shapley.k5.csv").map((line) => line.split(",")).map(([id, value]) => [id, Number(value)]));
}

function lines(file) {
  return readFileSync(new URL(file, DATA), "utf8").trim().split(/\r?\n/).slice(1);
}
