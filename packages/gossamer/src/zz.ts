import { lineChart, barChart } from './plot.ts';
import { layer } from './sparsity/layer.ts';
import { prune } from './sparsity/prune.ts';
import { magnitude } from './sparsity/score.ts';
import { sparsityReport, reportTable } from './sparsity/report.ts';
import { reportSvg } from './sparsity/report-svg.ts';
import { Random } from '@gossamer/tensor';
import { writeFileSync } from 'node:fs';
import sharp from 'sharp';
const r = new Random(3);
const mk = (n: string, s: number[], o = {}) => layer(n, s, r.fork(n).normal(s.reduce((a,b)=>a*b,1), 0, 1/Math.sqrt(s[1])), o);
const layers = [mk('features.0.weight',[64,3,3,3],{positions:1024}), mk('features.3.weight',[128,64,3,3],{positions:256}), mk('features.6.depthwise',[128,1,3,3],{positions:256}), mk('features.6.pointwise.weight',[256,128,1,1],{positions:64}), mk('classifier.1.weight',[512,4096]), mk('classifier.3.weight',[10,512])];
const m = prune(layers, l => magnitude(l.values), {sparsity:0.95, allocation:'global'});
const rep = sparsityReport(layers, {mask:m, gzip: true});
console.log(reportTable(rep));
const svg = reportSvg(rep);
const line = lineChart({title:'Fashion-MNIST, LeNet-300-100: accuracy against sparsity', subtitle:'mean ± std of 3 seeds, 10 epochs each', x:{label:'non-zero weights (%)', scale:'log', reverse:true, ticks:[50,20,10,5,2,1,.5]}, y:{label:'test accuracy (%)'}, series: ['global magnitude','uniform magnitude','ERK magnitude','SNIP','GraSP','SynFlow','random'].map((name,i)=>({name, points:[50,20,10,5,2,1,.5].map((x,j)=>({x, mean: 89.5-0.3*i - (0.05+0.07*i)*j*j*(1+i/6), std: 0.15+0.08*j}))}))});
const bars = barChart({title:'Speed-up over dense', x:{label:'× onnxruntime-web'}, bars:[{name:'CSR 90 %', value:3.1, std:.2},{name:'2×1 95 %', value:6.4,std:.5, note:'6.4 ± 0.5'},{name:'dense', value:1}]});
for (const [n,s] of [['report',svg],['line',line],['bars',bars]] as const){ writeFileSync(`/tmp/${n}.svg`, s); await sharp(Buffer.from(s),{density:110}).png().toFile(`/tmp/${n}.png`);}
