"use strict";

const AT_ONCE = 4; // concurrent requests
const maxUpload = Number(document.body.dataset.maxUpload);
const several = "several" in document.body.dataset; // an image may have several labels, or none
const find = (id) => document.getElementById(id);
const results = find("results");
const waiting = [];
let running = 0;

/** Post a form; return the JSON answer, or throw an Error with a message for the user. */
async function post(address, fields) {
  const form = new FormData();
  for (const [key, value] of Object.entries(fields)) form.append(key, value);
  let response;
  try {
    response = await fetch(address, { method: "POST", body: form });
  } catch {
    throw new Error("No response: the server is not running, or rejected the upload.");
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.detail || `The server returned status ${response.status}.`);
  return answer;
}

/** Add a card for each file, newest on top, and classify a few at a time. */
function add(files) {
  const cards = [...files].map((file) => ({ file, card: newCard(file) }));
  results.prepend(...cards.map(({ card }) => card));
  find("options").hidden = !results.children.length;
  waiting.push(...cards);
  for (let i = 0; i < AT_ONCE; i++) work();
}

function newCard(file) {
  const card = find("card").content.firstElementChild.cloneNode(true);
  card.querySelector("h2").textContent = file.name || "pasted image";
  return card;
}

async function work() {
  if (running >= AT_ONCE || !waiting.length) return;
  const { file, card } = waiting.shift();
  running += 1;
  const status = card.querySelector(".status");
  try {
    if (file.size > maxUpload) throw new Error(`The file is larger than the limit of ${megabytes(maxUpload)} MiB.`);
    status.textContent = "Classifying…";
    const answer = await post("api/predict?explain=true&top=5", { file });
    show(card, file, answer);
    status.textContent = answer.none_of_these ? "None of these: unlike all the classes." : "";
    if (answer.labels) status.textContent = answer.labels.length ? `Labels: ${answer.labels.join(", ")}` : "No label.";
    card.classList.toggle("rejected", Boolean(answer.none_of_these));
  } catch (problem) {
    card.classList.add("failed");
    status.textContent = sentence(problem.message);
  }
  card.removeAttribute("aria-busy");
  running -= 1;
  work();
}

const megabytes = (bytes) => Number((bytes / 2 ** 20).toPrecision(3));
const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);

function show(card, file, answer) {
  const best = answer.classes[0];
  const image = card.querySelector(".image");
  image.src = answer.image;
  const rejected = answer.none_of_these ? "none of these, most like " : "";
  image.alt = `${file.name || "pasted image"}: ${rejected}${best.name}, ${percent(best.probability)}`;
  card.querySelector(".heat").src = answer.heatmap;
  card.querySelector("figure").hidden = false;
  for (const { name, probability } of answer.classes) {
    const bar = find("bar").content.firstElementChild.cloneNode(true);
    bar.querySelector(".name").textContent = bar.querySelector(".name").title = name;
    bar.querySelector(".fill").style.width = `${100 * probability}%`;
    bar.querySelector(".percent").textContent = percent(probability);
    card.querySelector(".bars").append(bar);
  }
  const form = card.querySelector("form");
  if (several) return;
  form.hidden = false;
  for (const { name } of answer.classes) form.querySelector(".names").append(classButton(form, file, name));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    correct(form, file, form.elements.label.value.trim());
  });
  form.querySelector(".new").addEventListener("click", () => correct(form, file, form.elements.label.value.trim(), true));
  const offer = () => {
    const label = form.elements.label.value.trim();
    form.querySelector(".new").hidden = !label || knownNames().includes(label);
  };
  form.elements.label.addEventListener("input", offer);
}

const knownNames = () => [...find("classes").options].map((option) => option.value);

function classButton(form, file, name) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = name;
  button.addEventListener("click", () => correct(form, file, name));
  return button;
}

/** Offer a new class on all cards from now on. */
function remember(name) {
  if (knownNames().includes(name)) return;
  const option = document.createElement("option");
  option.value = name;
  find("classes").append(option);
}

function percent(probability) {
  if (probability > 0 && probability < 0.001) return "< 0.1 %";
  if (probability < 1 && probability > 0.999) return "> 99.9 %";
  return `${(100 * probability).toFixed(1)} %`;
}

async function correct(form, file, label, isNew = false) {
  const saved = form.querySelector(".saved");
  try {
    const answer = await post("api/correct", { file, label, new: isNew });
    remember(answer.label);
    form.querySelector(".new").hidden = true;
    saved.classList.remove("bad");
    saved.textContent = `Saved as “${answer.label}” in ${answer.list}`;
  } catch (problem) {
    saved.classList.add("bad");
    saved.textContent = sentence(problem.message);
  }
}

find("files").addEventListener("change", (event) => {
  add(event.target.files);
  event.target.value = ""; // so that the same file can be chosen again
});
find("heat").addEventListener("change", (event) => results.classList.toggle("no-heat", !event.target.checked));
find("clear").addEventListener("click", () => {
  waiting.length = 0;
  results.replaceChildren();
  find("options").hidden = true;
});
addEventListener("paste", (event) => {
  if (event.clipboardData.files.length) add(event.clipboardData.files);
});
for (const type of ["dragenter", "dragover"]) {
  addEventListener(type, (event) => {
    event.preventDefault();
    find("drop").classList.add("over");
  });
}
addEventListener("dragleave", (event) => event.relatedTarget || find("drop").classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  find("drop").classList.remove("over");
  add(event.dataTransfer.files);
});
