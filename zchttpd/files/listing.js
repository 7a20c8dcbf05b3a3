const box=document.querySelector('[type=search]'),told=document.querySelector('output'),
  before=told.textContent,rows=[...document.querySelector('#names').rows],
  plain=text=>text.normalize().toLowerCase();
let names;
const filter=()=>{
  names??=rows.map(row=>plain(row.cells[0].textContent));
  const words=plain(box.value).split(/\s+/);
  let left=0;
  rows.forEach((row,at)=>{
    const hit=words.every(word=>names[at].includes(word));
    left+=hit;
    row.toggleAttribute('hidden',!hit);
  });
  told.textContent=box.value?`${left} of ${rows.length}`:before;
};
box.toggleAttribute('hidden',!rows.length);
box.oninput=filter;
if(box.value)filter();
onkeydown=event=>{
  if(event.ctrlKey||event.metaKey||event.altKey||event.isComposing)return;
  if(event.target!=box){
    if(event.key=='/'&&rows.length){event.preventDefault();box.focus()}
  }else if(event.key=='Escape'){box.value='';filter()}
  else if(event.key=='Enter'&&box.value)
    rows.find(row=>!row.matches('[hidden]'))?.querySelector('a').click();
};
