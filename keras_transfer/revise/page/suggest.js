"use strict";
const rows = [...document.querySelectorAll("[data-path]")];
const count = document.getElementById("count");

function press(button) {
  const group = button.parentElement;
  const on = button.getAttribute("aria-pressed") !== "true";
  for (const other of group.children) other.setAttribute("aria-pressed", "false");
  button.setAttribute("aria-pressed", String(on));
  count.textContent = `${document.querySelectorAll("[aria-pressed=true]").length} of ${rows.length} labelled`;
}

function addButton(group, name, label) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = name;
  button.dataset.label = label;
  button.setAttribute("aria-pressed", "false");
  group.append(button);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-label]");
  if (button) press(button);
});

/** A class that is new: a button on every card. */
document.getElementById("new").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = event.target.elements.name.value.trim();
  if (!name) return;
  const plain = /^[^\s"\\\u0000-\u001f]+$/.test(name);
  for (const row of rows) addButton(row.querySelector(".names"), name, plain ? name : JSON.stringify(name).replaceAll(" ", "\\u0020"));
  event.target.reset();
});

document.getElementById("save").addEventListener("click", () => {
  const lines = [];
  for (const row of rows) {
    const pressed = row.querySelector("[aria-pressed=true]");
    if (pressed) lines.push(`${row.dataset.path} ${pressed.dataset.label}\n`);
  }
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(lines, { type: "text/plain" }));
  link.download = "labels.txt";
  link.click();
});
