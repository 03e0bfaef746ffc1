(function () {
  "use strict";
  // Old telephones run this too: no syntax newer than 2009. It shows and hides; it writes no sentence.
  var topics = JSON.parse(document.getElementById("choices").textContent);
  var lists = { topic: byId("topic"), who: byId("who"), when: byId("when") };
  var answers = document.querySelectorAll("#answers article");
  var current = null;
  var showsAll = false;

  function byId(id) { return document.getElementById(id); }

  function find(items, key) {
    for (var i = 0; i < items.length; i++) { if (items[i].key === key) { return items[i]; } }
    return null;
  }

  function fill(list, items, chosen) {
    var group = null;
    list.textContent = "";
    items.forEach(function (item) {
      var option = document.createElement("option");
      option.value = item.key;
      option.textContent = item.label;
      option.selected = item.key === chosen;
      if (item.group && (!group || group.label !== item.group)) {
        group = document.createElement("optgroup");
        group.label = item.group;
        list.appendChild(group);
      }
      (item.group ? group : list).appendChild(option);
    });
    list.disabled = false;
  }

  function choose(topicKey, whoKey, whenKey) {
    var topic = find(topics, topicKey) || topics[0];
    var who = find(topic.whos, whoKey) || topic.whos[0];
    var when = find(who.whens, whenKey) || who.whens[0];
    fill(lists.topic, topics, topic.key);
    fill(lists.who, topic.whos, who.key);
    fill(lists.when, who.whens, when.key);
    return when.id;
  }

  function show(id) {
    var i, section;
    current = byId(id);
    for (i = 0; i < answers.length; i++) { answers[i].hidden = !showsAll && answers[i] !== current; }
    var sections = document.querySelectorAll("#answers .topic");
    for (i = 0; i < sections.length; i++) {
      section = sections[i];
      section.hidden = !showsAll && !section.contains(current);
    }
  }

  function say(text) { byId("status").textContent = text; }

  function changed() {
    var id = choose(lists.topic.value, lists.who.value, lists.when.value);
    byId("unknown").hidden = true;
    show(id);
    history.replaceState(null, "", "#" + id);
    say(current.getAttribute("data-said"));
  }

  function follow(first) {
    var id = decodeURIComponent(location.hash.slice(1));
    var parts = id.split(".");
    var known = document.getElementById(id);
    var isAnswer = known !== null && known.tagName === "ARTICLE";
    if (first !== true && !isAnswer && (id === "" || known !== null)) { return; }
    if (id.indexOf("topic-") === 0) { parts = [id.slice(6)]; isAnswer = known !== null; }
    byId("unknown").hidden = isAnswer || id === "" || known !== null;
    show(choose(parts[0], parts[1], parts[2]));
    if (first !== true) { say(current.getAttribute("data-said")); }
  }

  function copy(event) {
    var button = event.target;
    if (!button.classList.contains("copy")) { return; }
    var id = button.parentNode.parentNode.id;
    // A path on somebody's own computer helps nobody and may name them: only the file's name is passed on.
    var page = location.protocol === "file:" ? location.pathname.split("/").pop() : location.href.split("#")[0];
    var field = document.createElement("textarea");
    field.value = page + "#" + id;
    field.className = "unseen";
    field.setAttribute("aria-hidden", "true");
    document.body.appendChild(field);
    field.select();
    var done = document.execCommand("copy");
    document.body.removeChild(field);
    button.focus();
    say(byId(done ? "copied" : "not-copied").textContent);
    button.textContent = byId(done ? "copied" : "not-copied").textContent;
  }

  function toggleAll() {
    showsAll = !showsAll;
    byId("all").setAttribute("aria-pressed", String(showsAll));
    document.documentElement.classList.toggle("all", showsAll);
    show(current.id);
  }

  function openTables(open) {
    var tables = document.querySelectorAll("details.numbers");
    for (var i = 0; i < tables.length; i++) { tables[i].open = open; }
  }

  if (topics.length === 0) { return; }
  document.documentElement.classList.add("live");
  openTables(false);
  byId("chooser").hidden = false;
  byId("contents").hidden = true;
  document.querySelector(".tools").hidden = false;
  var copies = document.querySelectorAll("button.copy");
  for (var i = 0; i < copies.length; i++) { copies[i].hidden = false; }
  ["topic", "who", "when"].forEach(function (name) { lists[name].addEventListener("change", changed); });
  byId("chooser").addEventListener("submit", function (event) { event.preventDefault(); });
  byId("answers").addEventListener("click", copy);
  byId("all").addEventListener("click", toggleAll);
  byId("print").addEventListener("click", function () { window.print(); });
  window.addEventListener("beforeprint", function () { openTables(true); });
  window.addEventListener("afterprint", function () { openTables(false); });
  window.addEventListener("hashchange", follow);
  follow(true);
}());
