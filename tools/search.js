// The search of the site: a web worker in place of the generator's, with its messages.
//
// The generator's search finds only sections that have every word of a query. This one ranks each
// section by BM25, where rare words count more, and by how many of the words it has. So a question
// in plain words and a pasted error message find the sections nearest to them.
"use strict";

const STOP_WORDS = new Set(
  "a an and are as at be by can do does for from get how i if in is it its me my no of on or so that the them they this to use want what when where which with you your".split(" ")
);
const FIELDS = { title: 6, text: 1, path: 1 }; // what a word in each field counts
const PAGE_SIZE = 10;
const SATURATION = 1.2; // k1 of BM25
const LENGTH_EFFECT = 0.5; // b of BM25: below 0.75, as long sections are often the right ones

let sections = [];
let frequencies = new Map(); // of each stem, the number of sections that have it
let averageLength = 1;

// Words of a text, outside its tags and with where they stand.
function wordsOf(text) {
  const found = [];
  for (const match of text.matchAll(/<[^>]*>|&\w+;|[\p{L}\p{N}]+/gu)) {
    if (match[0][0] !== "<" && match[0][0] !== "&") {
      const word = match[0].toLowerCase();
      found.push({ word, stem: stemOf(word), start: match.index, end: match.index + word.length });
    }
  }
  return found;
}

// "retries", "retried" and "retry" are one word, as are "cancelling" and "cancel".
function stemOf(word) {
  let stem = word.replace(/ies$|ied$/, "y").replace(/(?<=..[^s])s$/, "");
  if (stem.length > 4) stem = stem.replace(/(?<=...)(?:ing|ed|ion)$/, "").replace(/(ll|pp|tt)$/, double => double[0]);
  return stem.length > 3 ? stem.replace(/e$/, "") : stem;
}

function setUp(items) {
  sections = items.map((item, id) => {
    const fields = {};
    const counts = new Map();
    let length = 0;
    for (const [name, weight] of Object.entries(FIELDS)) {
      fields[name] = wordsOf([item[name]].flat().join(" "));
      length += fields[name].length;
      for (const { stem } of fields[name]) counts.set(stem, (counts.get(stem) ?? 0) + weight);
    }
    const typed = item.word === undefined ? null : stemsOf(item.word);
    const text = ` ${fields.text.map(({ stem }) => stem).join(" ")} `;
    const title = ` ${fields.title.map(({ stem }) => stem).join(" ")} `;
    return { id, item, fields, counts, length, typed, text, title };
  });
  frequencies = new Map();
  for (const { counts } of sections) {
    for (const stem of counts.keys()) frequencies.set(stem, (frequencies.get(stem) ?? 0) + 1);
  }
  averageLength = sections.reduce((sum, { length }) => sum + length, 1) / sections.length;
}

const stemsOf = text => wordsOf(text.replace(/[<&]/g, " ")).map(({ stem }) => stem);
const rarity = stem => Math.log(1 + sections.length / (1 + (frequencies.get(stem) ?? 0)));

// The stems that a word of the query stands for, and what each counts.
function variantsOf({ word, stem }, isLast) {
  const variants = new Map(frequencies.has(stem) ? [[stem, 1]] : []);
  for (const known of frequencies.keys()) {
    // The last word may be typed in part.
    if (isLast && word.length > 1 && known.startsWith(word) && known !== stem) variants.set(known, 0.6);
    else if (!frequencies.has(stem) && word.length > 4 && nearlySame(known, stem)) variants.set(known, 0.5);
  }
  return variants;
}

// Whether one letter is missing, added or other, or two have changed places.
function nearlySame(one, other) {
  if (Math.abs(one.length - other.length) > 1) return false;
  let head = 0;
  while (head < one.length && one[head] === other[head]) head++;
  const tail = (text, skipped) => text.slice(head + skipped);
  return tail(one, 1) === tail(other, 1) || tail(one, 0) === tail(other, 1) || tail(one, 1) === tail(other, 0)
    || (one[head] === other[head + 1] && one[head + 1] === other[head] && tail(one, 2) === tail(other, 2));
}

function search(input) {
  const typed = wordsOf(input.replace(/[<&]/g, " "));
  const meant = typed.filter(({ word }) => !STOP_WORDS.has(word));
  const terms = (meant.length ? meant : typed).map((term, at, all) => (
    { ...term, variants: variantsOf(term, at === all.length - 1), weight: rarity(term.stem) }
  ));
  const total = terms.reduce((sum, { weight }) => sum + weight, 0);
  const phrases = typed.slice(1).map(({ stem }, at) => [` ${typed[at].stem} ${stem} `, rarity(stem) + rarity(typed[at].stem)]);
  const best = new Map();
  for (const section of sections) {
    const score = scoreOf(section, terms, total, phrases, typed);
    // Several words lead to one section: only the best of them is shown.
    const place = section.item.location + (section.item.message ?? "");
    if (score > 0 && !(best.get(place)?.score >= score)) best.set(place, { section, score });
  }
  const found = [...best.values()];
  const isLast = ({ section }) => section.item.weight === 0;
  found.sort((one, other) => isLast(one) - isLast(other) || other.score - one.score);
  return { found: found.map(({ section }) => section), terms };
}

function scoreOf(section, terms, total, phrases, typed) {
  let score = 0;
  let covered = 0;
  const room = SATURATION * (1 - LENGTH_EFFECT + LENGTH_EFFECT * section.length / averageLength);
  for (const { variants, weight } of terms) {
    let count = 0;
    for (const [stem, share] of variants) count = Math.max(count, share * (section.counts.get(stem) ?? 0));
    if (count) covered += weight;
    score += weight * count * (SATURATION + 1) / (count + room);
  }
  if (!covered) return 0;
  for (const [phrase, weight] of phrases) {
    if (section.title.includes(phrase)) score += weight;
    else if (section.text.includes(phrase)) score += weight / 2;
  }
  score *= (covered / total) ** 2 * (section.item.weight || 1);
  return score + wordScore(section.typed, typed, total);
}

// What the page of words says about a query counts most: all of it, or a part of it.
function wordScore(listed, typed, total) {
  if (listed === null) return 0;
  const stems = typed.map(({ stem }) => stem);
  const line = ` ${stems.join(" ")} `;
  const words = ` ${listed.join(" ")} `;
  if (line === words) return 100;
  if (line.includes(words)) return 2 * listed.reduce((sum, stem) => sum + rarity(stem), 0);
  return stems.length && words.startsWith(line.trimEnd()) ? total : 0;
}

// What the page shows of a section: the fields, and which words of them are marked.
function shown(section, terms) {
  const marked = new Map(terms.flatMap(({ variants }) => [...variants.keys()].map(stem => [stem, true])));
  const matches = ["title", "text"].map((field, at) => {
    const ranges = section.fields[field].filter(({ stem }) => marked.has(stem))
      .map(({ start, end }) => ({ start, end, value: end - start }));
    return { id: 2 * section.id + at, field, value: { highlight: { ranges: ranges.slice(0, 50) } }, score: 0 };
  });
  return { id: section.id, matches };
}

function respond({ input, page }) {
  const { found, terms } = search(typeof input === "string" ? input : "");
  const from = page?.from ?? 0;
  const pagination = { total: found.length };
  const at = place => ({ id: 1, size: PAGE_SIZE, from: place });
  if (from > 0) pagination.prev = at(Math.max(0, from - PAGE_SIZE));
  if (from + PAGE_SIZE < found.length) pagination.next = at(from + PAGE_SIZE);
  const items = found.slice(from, from + PAGE_SIZE).map(section => shown(section, terms));
  return { items, query: { values: [] }, pagination };
}

self.onmessage = ({ data: message }) => {
  if (message.type === 0) {
    setUp(message.data.items);
    self.postMessage({ type: 1 });
  } else if (message.type === 2) {
    self.postMessage({ type: 3, data: respond(message.data) });
  }
};
