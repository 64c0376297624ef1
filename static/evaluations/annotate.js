// Annotates by the keyboard: digits choose, Enter submits, S skips, P goes back, ? shows the keys.
(() => {
  const form = document.getElementById("annotation-form");
  const keys = document.getElementById("keys");
  if (!form || !keys) return;
  const questions = [...form.querySelectorAll("[data-question]")];
  let current = null;
  let isSent = false;

  const isTyped = (element) =>
    element.matches("textarea, select, [contenteditable]") ||
    (element.matches("input") && !["radio", "checkbox", "button", "submit"].includes(element.type));

  const mark = (question) => {
    current?.classList.remove("is-current");
    current = question;
    current?.classList.add("is-current");
  };
  const focus = (question) => {
    mark(question);
    (question.querySelector("input:checked") ?? question.querySelector("input, textarea"))?.focus();
  };
  form.addEventListener("focusin", (event) => {
    const question = event.target.closest("[data-question]");
    if (question) mark(question);
  });

  const choose = (digit) => {
    const option = current?.querySelector(`input[data-key="${digit}"]`);
    if (!option) return false;
    option.checked = true;
    option.focus();
    return true;
  };
  const press = (button) => {
    if (button && !isSent) button.click();
    return Boolean(button);
  };
  // A second Enter before the answer has come would submit the same again.
  form.addEventListener("submit", (event) => {
    if (isSent) event.preventDefault();
    isSent = true;
  });
  window.addEventListener("pageshow", () => { isSent = false; });

  const showKeys = () => {
    keys.showModal();
    return true;
  };
  document.getElementById("show-keys")?.addEventListener("click", showKeys);

  const submitButton = form.querySelector('button[name="action"]');
  const doFor = (key) => {
    if (/^[0-9]$/.test(key)) return choose(key);
    if (key === "Enter") return press(submitButton);
    if (key === "?") return showKeys();
    if (key.toLowerCase() === "s") return press(document.getElementById("skip"));
    if (key.toLowerCase() === "p") return press(document.getElementById("earlier"));
    return false;
  };

  document.addEventListener("keydown", (event) => {
    const target = event.target;
    if (keys.open || event.isComposing || event.repeat || event.defaultPrevented) return;
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      if (press(submitButton)) event.preventDefault();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (isTyped(target)) {
      if (event.key === "Escape" && form.contains(target)) target.blur();
      return;
    }
    // Enter on a button or a link does what that is for.
    if (event.key === "Enter" && target.closest("button, a, summary")) return;
    if (target.closest("dialog, [role=dialog], [role=menu]")) return;
    if (doFor(event.key)) event.preventDefault();
  });

  const wrong = form.querySelector("[data-question]:has(.wf-failure)");
  if (questions.length) focus(wrong ?? questions[0]);
})();
