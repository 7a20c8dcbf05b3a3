// Figure 1 of the front page: a playhead over the timing diagram, which is complete without it.

const DURATION_MS = 11000;
const WIDTH = 960;
const FIRST_X = 210;
const LAST_X = 950;
// Where t0 to t3 stand in the drawing.
const MOMENTS_X = [210, 370, 700, 760];

const figure = document.getElementById("figure-lease");
const scroller = figure.querySelector(".scroll");
const sweep = figure.querySelector(".sweep");
const steps = [...document.querySelectorAll("#steps li")];
const button = document.getElementById("play");
const still = matchMedia("(prefers-reduced-motion: reduce)");

const sweepAnimation = sweep.animate(
  [{ transform: "translateX(0)" }, { transform: `translateX(${LAST_X - FIRST_X}px)` }],
  { duration: DURATION_MS, fill: "both" },
);
sweepAnimation.cancel();

function mark(time) {
  const x = FIRST_X + ((LAST_X - FIRST_X) * time) / DURATION_MS;
  const reached = MOMENTS_X.filter((moment) => moment <= x + 1).length - 1;
  steps.forEach((step, index) => step.classList.toggle("now", index === reached));
  // On a narrow screen the drawing is wider than its frame: keep the playhead in sight.
  scroller.scrollLeft = (x / WIDTH) * scroller.scrollWidth - scroller.clientWidth * 0.6;
}

function follow() {
  if (sweepAnimation.playState !== "running") return;
  mark(sweepAnimation.currentTime);
  requestAnimationFrame(follow);
}

function rest() {
  figure.classList.remove("playing");
  steps.forEach((step) => step.classList.remove("now"));
  button.textContent = "Play";
}

function play() {
  figure.classList.add("playing");
  button.textContent = "Pause";
  sweepAnimation.play();
  requestAnimationFrame(follow);
}

function show(index) {
  figure.classList.add("playing");
  sweepAnimation.pause();
  sweepAnimation.currentTime = ((MOMENTS_X[index] - FIRST_X) / (LAST_X - FIRST_X)) * DURATION_MS;
  mark(sweepAnimation.currentTime);
  button.textContent = "Play on";
}

sweepAnimation.addEventListener("finish", () => {
  sweepAnimation.cancel();
  rest();
});
button.addEventListener("click", () => {
  if (sweepAnimation.playState === "running") {
    sweepAnimation.pause();
    button.textContent = "Play on";
  } else {
    play();
  }
});
steps.forEach((step, index) => {
  const heading = step.querySelector("h3");
  const pick = document.createElement("button");
  pick.type = "button";
  pick.className = "pick";
  pick.textContent = heading.textContent;
  pick.addEventListener("click", () => show(index));
  heading.replaceChildren(pick);
});
document.getElementById("play-row").hidden = false;

// Once, when it comes into view; never for those who asked for less motion.
new IntersectionObserver((entries, observer) => {
  if (!entries.some((entry) => entry.isIntersecting)) return;
  observer.disconnect();
  if (!still.matches) play();
}, { threshold: 0.6 }).observe(figure);
