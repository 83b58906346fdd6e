// What OHIF's own reader makes of a segmentation and dcmjs of a report, as JSON.
//   node read.mjs SEG REPORT IMAGE...   (images in the order of the volume's slices)
import fs from 'node:fs';
import dcmjs from 'dcmjs';
import { adaptersSEG } from '@cornerstonejs/adapters';

const { DicomMessage, DicomMetaDictionary } = dcmjs.data;
const buffer = (path) => { const data = fs.readFileSync(path); return data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength); };
const natural = (path) => DicomMetaDictionary.naturalizeDataset(DicomMessage.readFile(buffer(path)).dict);
const listed = (value) => (value === undefined ? [] : Array.isArray(value) ? value : [value]);

const [, , seg, report, ...paths] = process.argv;
const images = paths.map(natural);
const numbers = (values) => Array.from(values, Number);
const modules = {
  imagePlaneModule: (one) => ({
    rows: one.Rows, columns: one.Columns,
    rowCosines: numbers(one.ImageOrientationPatient).slice(0, 3), columnCosines: numbers(one.ImageOrientationPatient).slice(3),
    imageOrientationPatient: numbers(one.ImageOrientationPatient), imagePositionPatient: numbers(one.ImagePositionPatient),
  }),
  generalSeriesModule: (one) => ({ seriesInstanceUID: one.SeriesInstanceUID }),
  generalImageModule: (one) => ({ sopInstanceUID: one.SOPInstanceUID }),
  sopCommonModule: (one) => ({ sopInstanceUID: one.SOPInstanceUID }),
  instance: (one) => ({ ...one, ImagePositionPatient: numbers(one.ImagePositionPatient) }),
};
const provider = { get: (kind, id) => modules[kind] && modules[kind](images[Number(id)]) };
const ids = images.map((_, k) => String(k));
const found = await adaptersSEG.Cornerstone3D.Segmentation.generateToolState(ids, buffer(seg), provider, {});
const counts = {};  // segment: slice: voxels
for (const labels of found.labelmapBufferArray) {
  const voxels = new Uint8Array(labels);
  const size = images[0].Rows * images[0].Columns;
  voxels.forEach((segment, at) => {
    if (segment) {
      const slices = (counts[segment] ??= {});
      const z = Math.floor(at / size);
      slices[z] = (slices[z] ?? 0) + 1;
    }
  });
}
const segments = listed(found.segMetadata.data).filter((each) => each).map((each) => each.SegmentLabel);
const values = [];
const walk = (item) => {
  if (item.ValueType === 'NUM') {
    const measured = listed(item.MeasuredValueSequence)[0];
    values.push([listed(item.ConceptNameCodeSequence)[0].CodeValue, Number(measured.NumericValue)]);
  }
  listed(item.ContentSequence).forEach(walk);
};
walk(natural(report));
console.log(JSON.stringify({ counts, segments, values }));
