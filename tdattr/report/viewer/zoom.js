// A picture that can be enlarged and moved: by the wheel and ctrl, by dragging, by buttons, by keys.
const MOST_ZOOM = 16;
const STEP = 1.5;

function showZoomable(number, words) {
  const image = showPicture(number, words);
  let [scale, x, y] = [1, 0, 0];
  const draw = () => {
    const half = (scale - 1) * 50; // percent of the frame that can be moved to each side
    x = Math.max(-half, Math.min(half, x));
    y = Math.max(-half, Math.min(half, y));
    image.style.transform = `translate(${x}%, ${y}%) scale(${scale})`;
    frame.classList.toggle('enlarged', scale > 1);
    told.textContent = `${Math.round(100 * scale)} %`;
  };
  const zoom = (factor) => {
    const next = Math.max(1, Math.min(MOST_ZOOM, scale * factor));
    x *= next / scale;
    y *= next / scale;
    scale = next;
    draw();
  };
  const move = (dx, dy) => {
    x += dx;
    y += dy;
    draw();
  };
  const reset = () => {
    [scale, x, y] = [1, 0, 0];
    draw();
  };
  const keys = {
    '+': () => zoom(STEP), '=': () => zoom(STEP), '-': () => zoom(1 / STEP), 0: reset,
    ArrowLeft: () => move(10, 0), ArrowRight: () => move(-10, 0), ArrowUp: () => move(0, 10), ArrowDown: () => move(0, -10),
  };
  const frame = make(
    'div',
    {
      class: 'frame', tabindex: 0, role: 'group',
      'aria-label': `${words}; plus and minus enlarge it, arrow keys then move it`,
      keydown: (event) => {
        if (!keys[event.key] || event.ctrlKey || event.metaKey || (event.key.startsWith('Arrow') && scale === 1)) return;
        keys[event.key]();
        event.preventDefault();
        event.stopPropagation();
      },
      pointerdown: (event) => scale > 1 && frame.setPointerCapture(event.pointerId),
      pointermove: (event) => {
        if (!frame.hasPointerCapture(event.pointerId)) return;
        move((100 * event.movementX) / frame.clientWidth, (100 * event.movementY) / frame.clientHeight);
      },
      dblclick: () => (scale > 1 ? reset() : zoom(3)),
    },
    image,
  );
  frame.addEventListener('wheel', (event) => {
    if (scale === 1 && !event.ctrlKey) return; // the page scrolls on; of two fingers that spread, browsers say ctrl
    event.preventDefault();
    zoom(event.deltaY < 0 ? 1.2 : 1 / 1.2);
  }, { passive: false });
  const told = make('span', { class: 'told', 'aria-live': 'polite' });
  const button = (sign, name, act) => make('button', { type: 'button', 'aria-label': name, title: name, click: act }, sign);
  draw();
  return make(
    'div',
    { class: 'zoomable' },
    frame,
    make(
      'div',
      { class: 'tools' },
      button('−', 'Make the picture smaller', () => zoom(1 / STEP)),
      told,
      button('+', 'Make the picture larger', () => zoom(STEP)),
      button('⟲', 'Show the whole picture', reset),
    ),
  );
}
