"use strict";
// Comments are held in this window only: nothing is sent and nothing is stored. Saving makes a file of them.
(() => {
  const byId = (id) => document.getElementById(id);
  const section = byId("your-comments");
  const main = byId("main");
  if (!section || !main) return;
  const bar = byId("comment-bar");
  const onSwitch = byId("comment-switch");
  const status = byId("comment-status");
  const PARTS = "#document, #main :is(h2,h3,h4,h5,h6)[id], #main .evalkit-block[id], #main figure[id], " +
    "#main table[id], #main pre[id], #main [id^='ref-']";
  const QUOTE = 200;
  let parts = [];
  let current = -1;
  let comments = [];
  let saved = true;
  let consented = false;
  let open = null; // the form that is open: {form, part, place, back}
  const drafts = new Map();
  const buttons = new Map();

  const say = (text, where = status) => {
    // The same words twice would not be read out: empty the place first.
    where.textContent = "";
    window.setTimeout(() => { where.textContent = text; }, 50);
  };
  const make = (name, attributes = {}, text = "") => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.textContent = text;
    return element;
  };
  const short = (text, most = QUOTE) => {
    const line = text.replace(/\s+/g, " ").trim();
    return line.length <= most ? line : `${line.slice(0, most - 1).replace(/\s+\S*$/, "")}…`;
  };
  const wordsOf = (part) => {
    if (part.id === "document") return short(part.querySelector("h1").textContent);
    const words = (part.querySelector("figcaption, caption") || part).cloneNode(true);
    for (const other of words.querySelectorAll(".comment-button, annotation")) other.remove();
    return short(words.textContent);
  };
  const nameOf = (part) => part.id === "document" ? "the whole report" : `“${short(wordsOf(part), 60)}”`;

  // ---- the button of a part -------------------------------------------------------------------------------------
  const findParts = () => [...document.querySelectorAll(PARTS)].filter((part) => !section.contains(part));
  const countOf = (id) => comments.filter((comment) => comment.block === id).length;

  const fillButton = (part) => {
    const button = buttons.get(part.id);
    if (!button) return;
    const count = countOf(part.id);
    button.replaceChildren(
      document.createTextNode(count ? `Comment (${count})` : "Comment"), make("span", { class: "unseen" }, ` on: ${nameOf(part)}`),
    );
    button.classList.toggle("has-comment", count > 0);
  };
  const addButton = (part, place) => {
    const button = make("button", { type: "button", class: "comment-button", tabindex: "-1" });
    button.addEventListener("click", () => { choose(place); openForm(part, button); });
    button.addEventListener("keydown", (event) => {
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      choose(place);
      move(step);
      buttons.get(parts[current].id).focus();
    });
    buttons.set(part.id, button);
    fillButton(part);
    if (part.matches(".evalkit-block") && part.tagName === "SPAN") part.after(" ", button);
    else if (part.matches("figure, [id^='ref-'], #document")) part.append(button);
    else {
      const holder = make("div", { class: "comment-place" });
      holder.append(button);
      (part.closest(".scroll") || part).after(holder);
    }
  };
  const boxOf = (part) => part.closest("p, li, .scroll") || part;

  // ---- which part is chosen -------------------------------------------------------------------------------------
  const choose = (place) => {
    if (current >= 0) {
      boxOf(parts[current]).classList.remove("chosen-part");
      buttons.get(parts[current].id).tabIndex = -1;
    }
    current = place;
    boxOf(parts[current]).classList.add("chosen-part");
    buttons.get(parts[current].id).tabIndex = 0;
  };
  const inView = (part) => {
    const box = boxOf(part).getBoundingClientRect();
    return box.bottom > 0 && box.top < window.innerHeight;
  };
  const follow = () => {
    // The reader scrolled away from the chosen part: the first one on the screen takes its place.
    if (bar.hidden || open || (current >= 0 && inView(parts[current]))) return false;
    const seen = parts.findIndex((part) => boxOf(part).getBoundingClientRect().top >= 0);
    if (seen < 0) return false;
    choose(seen);
    return true;
  };
  const move = (step) => {
    if (!follow()) choose(Math.min(parts.length - 1, Math.max(0, current + step)));
    boxOf(parts[current]).scrollIntoView({ block: "center" });
    say(`Part ${current + 1} of ${parts.length}: ${nameOf(parts[current])}`);
  };

  // ---- on and off -----------------------------------------------------------------------------------------------
  const turnOn = () => {
    if (!parts.length) {
      parts = findParts();
      parts.forEach(addButton);
    }
    document.body.classList.add("commenting");
    bar.hidden = false;
    onSwitch.setAttribute("aria-pressed", "true");
    onSwitch.querySelector(".state").textContent = ": on";
    if (current < 0) choose(0);
    follow();
    reserve();
    say("Comment mode is on. Choose a part and press Comment.");
  };
  const turnOff = () => {
    if (open) closeForm({ keep: true });
    document.body.classList.remove("commenting");
    bar.hidden = true;
    onSwitch.setAttribute("aria-pressed", "false");
    onSwitch.querySelector(".state").textContent = ": off";
    reserve();
    onSwitch.focus();
  };
  const reserve = () => {
    // What has the focus must not lie under the bar.
    const covers = !bar.hidden && getComputedStyle(bar).position === "fixed";
    document.documentElement.style.setProperty("--bar", covers ? `${bar.offsetHeight + 12}px` : "0px");
  };

  // ---- the form -------------------------------------------------------------------------------------------------
  const openForm = (part, back, edited = null) => {
    if (open) closeForm({ keep: true, focus: false });
    const form = byId("comment-form").content.firstElementChild.cloneNode(true);
    const before = edited || drafts.get(part.id) || { kind: "", text: "", consent: consented };
    form.querySelector(".chosen").textContent = part.id === "document" ? "The whole report" : `“${wordsOf(part)}”`;
    for (const radio of form.elements.kind) radio.checked = radio.value === before.kind;
    const text = form.querySelector("textarea");
    text.value = before.text;
    form.elements.consent.checked = before.consent;
    form.addEventListener("submit", (event) => { event.preventDefault(); keep(); });
    form.querySelector(".cancel").addEventListener("click", () => cancel());
    form.addEventListener("keydown", (event) => { if (event.key === "Escape") { event.stopPropagation(); cancel(); } });
    const button = buttons.get(part.id);
    (button.closest("p, .comment-place") || button).after(form);
    open = { form, part, back, edited, text };
    document.body.classList.add("writing");
    status.textContent = "Choose what fits, write, and press Keep.";
    reserve();
    const checked = form.querySelector("input[type=radio]:checked");
    (checked || form.querySelector("input[type=radio]")).focus({ preventScroll: true });
    form.scrollIntoView({ block: "nearest" });
  };
  const written = () => ({
    kind: open.form.querySelector("input[type=radio]:checked")?.value || "",
    text: open.text.value.trim(),
    consent: open.form.elements.consent.checked,
  });
  const closeForm = ({ keep: keepDraft, focus = true }) => {
    const now = written();
    const { form, part, back, edited } = open;
    open = null;
    if (keepDraft && !edited && now.text) drafts.set(part.id, now);
    else drafts.delete(part.id);
    form.remove();
    document.body.classList.remove("writing");
    reserve();
    if (focus) (back.isConnected ? back : buttons.get(part.id)).focus();
    return Boolean(keepDraft && !edited && now.text);
  };
  const cancel = () => {
    const held = closeForm({ keep: true });
    say(held ? "Not kept yet. Your words are still here if you open this part again." : "Closed.");
  };
  const problem = (text, where) => {
    const place = byId("comment-problem");
    where.closest("fieldset, p").before(place);
    place.textContent = text;
    where.setAttribute("aria-describedby", "comment-problem comment-hint");
    where.focus();
  };
  const keep = () => {
    const now = written();
    const label = open.form.querySelector("input[type=radio]:checked")?.closest("label").textContent.trim();
    if (!now.kind) return problem("Choose one of these, whichever is nearest.", open.form.elements.kind[0]);
    // To agree, or to say that something is unclear or upsetting, needs no words.
    if (!now.text && !["agree", "unclear", "upsetting"].includes(now.kind)) {
      return problem("Write a few words, so that we know what you mean.", open.text);
    }
    const { part, edited } = open;
    const comment = { block: part.id, kind: now.kind, text: now.text || `${label}.`, quote: wordsOf(part), consent: now.consent };
    consented = now.consent;
    if (edited) comments = comments.map((old) => (old === edited ? comment : old));
    else comments.push(comment);
    saved = false;
    closeForm({ keep: false });
    show();
    fillButton(part);
    say(`Your comment is kept in this window: ${comments.length} so far. Save them to a file before you close it.`);
  };

  // ---- the list -------------------------------------------------------------------------------------------------
  const kindWords = (kind) => byId("comment-form").content.querySelector(`input[value="${kind}"]`)?.closest("label").textContent.trim() || kind;
  const show = () => {
    byId("comment-count").textContent = String(comments.length);
    byId("no-comments").hidden = comments.length > 0;
    byId("comment-list").replaceChildren(...comments.map((comment, place) => {
      const item = make("li");
      const about = make("p", { class: "small" });
      const part = byId(comment.block);
      if (part) about.append("On ", make("a", { href: `#${comment.block}` }, nameOf(part)));
      else about.append("On a part that this version does not have");
      const head = make("p");
      const label = kindWords(comment.kind);
      head.append(make("strong", {}, label), comment.text === `${label}.` ? "." : `: ${comment.text}`);
      const row = make("p", { class: "form-buttons" });
      const change = make("button", { type: "button" }, "Change");
      const remove = make("button", { type: "button" }, "Remove");
      for (const button of [change, remove]) button.append(make("span", { class: "unseen" }, ` comment ${place + 1}`));
      change.hidden = !part;
      change.addEventListener("click", () => { turnOn(); choose(parts.indexOf(part)); openForm(part, buttons.get(part.id), comment); });
      remove.addEventListener("click", () => {
        comments = comments.filter((other) => other !== comment);
        saved = comments.length === 0;
        show();
        if (part) fillButton(part);
        byId("your-comments-title").focus();
        say(`Removed. ${comments.length} left.`, byId("save-status"));
      });
      row.append(change, remove);
      item.append(about, head, row);
      return item;
    }));
  };

  // ---- the file -------------------------------------------------------------------------------------------------
  const fileOf = () => {
    const name = byId("your-name").value.trim();
    const reader = byId("your-role").value;
    const list = comments.map(({ block, kind, text, quote, consent }) => ({ block, kind, text, quote, name, consent, reader }));
    const file = document.implementation.createHTMLDocument("Comments on a report");
    file.documentElement.lang = "en-GB";
    file.head.prepend(make("meta", { charset: "utf-8" }), make("meta", { "http-equiv": "Content-Security-Policy", content: "default-src 'none'" }));
    const readable = make("ol");
    for (const comment of list) {
      const item = make("li", {}, `On “${comment.quote}”. `);
      item.append(make("strong", {}, kindWords(comment.kind)), `: ${comment.text}`);
      readable.append(item);
    }
    const data = make("script", { type: "application/json", id: "evalkit-comments" });
    for (const key of ["report", "version", "manifest"]) if (section.dataset[key]) data.dataset[key] = section.dataset[key];
    data.textContent = JSON.stringify(list, null, 1).replace(/</g, "\\u003c");
    file.body.append(
      make("h1", {}, `Comments on: ${document.title}, version ${section.dataset.version}`),
      make("p", {}, "Please give this file to the person who gave you the report."), readable, data,
    );
    return `\x3c!DOCTYPE html>\n${file.documentElement.outerHTML}\n`;
  };
  const fileName = () => `comments-${section.dataset.report}-version-${section.dataset.version}.html`;
  const save = () => {
    const where = byId("save-status");
    if (!comments.length) return say("There is no comment to save yet.", where);
    const url = URL.createObjectURL(new Blob([fileOf()], { type: "text/html" }));
    const link = make("a", { href: url, download: fileName() });
    link.click();
    window.setTimeout(() => URL.revokeObjectURL(url), 10000);
    saved = true;
    status.textContent = "";
    say(`Your browser now saves the file “${fileName()}”, most often in the folder Downloads. ` +
      "Please give that file to the person who gave you this report. You can close this page. Nothing was sent.", where);
  };
  const goOn = async (event) => {
    const where = byId("save-status");
    const [file] = event.target.files;
    if (!file) return;
    let held = null;
    let from = null;
    try {
      from = new DOMParser().parseFromString(await file.text(), "text/html").getElementById("evalkit-comments");
      held = JSON.parse(from.textContent);
    } catch { held = null; }
    const fits = Array.isArray(held) && held.length > 0 &&
      held.every((c) => c && ["block", "kind", "text"].every((key) => typeof c[key] === "string"));
    event.target.value = "";
    if (!fits) return say("That file holds no comments. Choose the file that this page saved.", where);
    if (from.dataset.report !== section.dataset.report) return say("That file is about another report.", where);
    const text = (value) => (typeof value === "string" ? value : "");
    const known = new Set(comments.map((c) => `${c.block}\n${c.text}`));
    const fresh = held.filter((c) => !known.has(`${c.block}\n${c.text}`));
    comments = comments.concat(fresh.map((c) => ({ block: c.block, kind: c.kind, text: c.text, quote: text(c.quote), consent: c.consent === true })));
    byId("your-name").value ||= text(held[0].name);
    const role = byId("your-role");
    if ([...role.options].some((option) => option.value === held[0].reader)) role.value = held[0].reader;
    show();
    parts.forEach(fillButton);
    say(`${fresh.length} ${fresh.length === 1 ? "comment is" : "comments are"} back. You can go on.`, where);
  };

  // ---- wiring ---------------------------------------------------------------------------------------------------
  for (const element of document.querySelectorAll(".needs-script")) element.hidden = false;
  onSwitch.addEventListener("click", () => (bar.hidden ? turnOn() : turnOff()));
  byId("comment-stop").addEventListener("click", turnOff);
  byId("part-before").addEventListener("click", () => move(-1));
  byId("part-after").addEventListener("click", () => move(1));
  byId("part-comment").addEventListener("click", () => { follow(); openForm(parts[current], byId("part-comment")); });
  byId("to-comments").addEventListener("click", () => {
    byId("your-comments-title").scrollIntoView();
    byId("your-comments-title").focus({ preventScroll: true });
  });
  byId("save-comments").addEventListener("click", save);
  byId("open-comments").addEventListener("change", goOn);
  main.addEventListener("click", (event) => {
    if (bar.hidden || open || event.target.closest("a, button, input, form") || String(window.getSelection())) return;
    const place = parts.findLastIndex((part) => boxOf(part).contains(event.target) && !part.matches("#document"));
    if (place >= 0) choose(place);
  });
  let waiting = 0;
  window.addEventListener("scroll", () => {
    window.clearTimeout(waiting);
    waiting = window.setTimeout(follow, 150);
  }, { passive: true });
  window.addEventListener("resize", reserve);
  window.addEventListener("beforeunload", (event) => {
    if (!saved || (open && open.text.value.trim()) || drafts.size) event.preventDefault();
  });
  show();
})();
